"""Private names of LangGraph that packages import. Nothing here is new; nothing here is supported."""
