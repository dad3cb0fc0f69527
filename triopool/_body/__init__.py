"""What the caller gives as the body of a request, as something that can be sent."""
