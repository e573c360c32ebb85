// Publishes to a channel once a second, over gRPC; Go 1.24 or newer, in this folder:
//
//	go generate
//	go run . -address 127.0.0.1:10000 -key KEY
//
// The key goes with each call as metadata, from credentials of the connection.
package main

//go:generate ../go-stubs.sh

import (
	"context"
	"flag"
	"log"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"tocsin.example/publish/apiproto"
)

type keyAuth struct {
	key string
}

func (t keyAuth) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	return map[string]string{"authorization": "apikey " + t.key}, nil
}

func (t keyAuth) RequireTransportSecurity() bool {
	return false
}

func main() {
	address := flag.String("address", "127.0.0.1:10000", "of the gRPC API")
	key := flag.String("key", "", "of the gRPC API")
	channel := flag.String("channel", "chat:index", "to publish to")
	times := flag.Int("times", 0, "to publish before ending, 0 for ever")
	flag.Parse()

	connection, err := grpc.NewClient(*address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(keyAuth{*key}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	api := apiproto.NewCentrifugoApiClient(connection)
	for n := 1; ; n++ {
		response, err := api.Publish(context.Background(), &apiproto.PublishRequest{
			Channel: *channel,
			Data:    []byte(`{"input": "hello from GRPC"}`),
		})
		if err != nil {
			log.Printf("Transport level error: %v", err)
		} else if refused := response.GetError(); refused != nil {
			log.Printf("Error %d (%s)", refused.Code, refused.Message)
		} else {
			log.Println("Successfully published")
		}
		if n == *times {
			return
		}
		time.Sleep(time.Second)
	}
}
