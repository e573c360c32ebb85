"""Generated messages and pure frame codecs; never reaches sockets."""
