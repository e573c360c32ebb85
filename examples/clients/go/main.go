// Registers a device and sends to its topic, over gRPC; Go 1.24 or newer, in this folder:
//
//	go generate
//	go run . 127.0.0.1:10000 KEY
package main

//go:generate ../go-stubs.sh

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
	if len(os.Args) != 3 {
		log.Fatal("usage: go run . ADDRESS KEY")
	}
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
