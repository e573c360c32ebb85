.PHONY: proto
proto:
	.venv/bin/python -m grpc_tools.protoc -Itocsin/protocol=proto --python_out=src --pyi_out=src --grpc_python_out=src tocsin/protocol/api.proto tocsin/protocol/client.proto tocsin/protocol/unistream.proto
	.venv/bin/python -m grpc_tools.protoc -Itocsin/protocol=proto --python_out=src --pyi_out=src tocsin/protocol/job.proto
