"""Registers a device and sends to its topic, with stubs made beside it, in this folder:

pip install grpcio-tools
python -m grpc_tools.protoc -I ../../proto --python_out=. --grpc_python_out=. api.proto
python send.py 127.0.0.1:10000 KEY
"""

import json
import sys

import api_pb2
import api_pb2_grpc
import grpc


def main(address, key):
    metadata = [("authorization", f"apikey {key}")]
    with grpc.insecure_channel(address) as channel:
        api = api_pb2_grpc.CentrifugoApiStub(channel)
        registered = api.DeviceRegister(
            api_pb2.DeviceRegisterRequest(
                provider="fcm",
                token="token-from-python",
                platform="android",
                topics=["snippets"],
            ),
            metadata=metadata,
        )
        if registered.error.code:
            sys.exit(f"{registered.error.code}: {registered.error.message}")
        message = {"notification": {"title": "Hello from Python"}}
        sent = api.SendPushNotification(
            api_pb2.SendPushNotificationRequest(
                recipient=api_pb2.PushRecipient(
                    filter=api_pb2.DeviceFilter(topics=["snippets"])
                ),
                notification=api_pb2.PushNotification(
                    fcm=api_pb2.FcmPushNotification(
                        message=json.dumps(message).encode()
                    )
                ),
            ),
            metadata=metadata,
        )
        if sent.error.code:
            sys.exit(f"{sent.error.code}: {sent.error.message}")
        print(sent.result.uid)


if __name__ == "__main__":
    main(*sys.argv[1:3])
