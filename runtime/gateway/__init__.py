"""REST, the WebSocket and the page."""
