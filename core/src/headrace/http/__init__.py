"""The edge: bytes to Structs to Gateway to bytes."""
