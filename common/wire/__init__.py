"""The wire: messages, codec, topics, ids and category codes. Nothing here does I/O."""
