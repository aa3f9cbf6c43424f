"""What others need to know of the functions and the wire, told in their own formats: NATS, Helm, AsyncAPI, JSON Schema."""
