"""The console: the pages that operators look at. Server-rendered, live by the stream, two languages."""
