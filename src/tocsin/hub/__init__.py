"""The connections and subscriptions of this node; encodes once per format."""
