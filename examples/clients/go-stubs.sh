#!/bin/sh
# Makes the package `apiproto` of the Go example that it is run in, from our schema and
# with the plugins that the example's go.mod pins. `go generate` calls it. It needs Go
# 1.24 or newer, and protoc: that of PATH, or the one that `make install` brings.
set -e
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root="$here/../.."
mkdir -p apiproto
GOBIN="$PWD/bin" go install tool
PATH="$PWD/bin:$PATH"
if command -v protoc >/dev/null 2>&1; then
  set -- protoc
elif [ -x "$root/.venv/bin/python" ]; then
  set -- "$root/.venv/bin/python" -m grpc_tools.protoc
else
  echo "protoc is missing: install it (Debian: protobuf-compiler), or run make install" >&2
  exit 1
fi
"$@" -I "$root/proto" --go_out=apiproto --go-grpc_out=apiproto api.proto
