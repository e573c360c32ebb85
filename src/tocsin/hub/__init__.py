"""Who on this node listens to what; encodes once per format."""
