// Registers a device and sends to its topic, with stubs made by protoc-gen-go:
//
//	protoc -I ../../../proto --go_out=. --go-grpc_out=. api.proto
//	go run . 127.0.0.1:10000 KEY
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"tocsin.example/send/apiproto"
)

func main() {
	address, key := os.Args[1], os.Args[2]
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	api := apiproto.NewCentrifugoApiClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "apikey "+key)

	registered, err := api.DeviceRegister(ctx, &apiproto.DeviceRegisterRequest{
		Provider: "fcm", Token: "token-from-go", Platform: "android", Topics: []string{"snippets"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if registered.Error != nil {
		log.Fatalf("%d: %s", registered.Error.Code, registered.Error.Message)
	}
	sent, err := api.SendPushNotification(ctx, &apiproto.SendPushNotificationRequest{
		Recipient: &apiproto.PushRecipient{Filter: &apiproto.DeviceFilter{Topics: []string{"snippets"}}},
		Notification: &apiproto.PushNotification{
			Fcm: &apiproto.FcmPushNotification{Message: []byte(`{"notification":{"title":"Hello from Go"}}`)},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if sent.Error != nil {
		log.Fatalf("%d: %s", sent.Error.Code, sent.Error.Message)
	}
	fmt.Println(sent.Result.Uid)
}
