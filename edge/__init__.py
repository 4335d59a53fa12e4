"""The box on the lamp pole: looks, decides what happened, keeps it until the cloud has it."""
