"""Storm mode 风暴模式: by rule or by hand, an area's tickets get other policies and a higher severity for a while."""
