"""Cameras: whatever gives frames, behind one port (``FrameSource``)."""
