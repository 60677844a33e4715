// Calls a server through what openapi-generator makes for Go.
package main

import (
	"context"
	"fmt"
	"net/http"
	"openapi"
	"os"
)

func client(token string) *openapi.APIClient {
	configuration := openapi.NewConfiguration()
	configuration.Servers = openapi.ServerConfigurations{{URL: os.Args[1]}}
	if token != "" {
		configuration.AddDefaultHeader("Authorization", "Bearer "+token)
	}
	return openapi.NewAPIClient(configuration)
}

func good(answer *http.Response, err error) {
	if err != nil {
		panic(fmt.Sprint(err, answer))
	}
}

func check(holds bool, message string) {
	if !holds {
		panic(message)
	}
}

func main() {
	ctx := context.Background()
	accounts := client("").AccountsAPI
	_, answer, err := accounts.Register(ctx).RegisterBody(*openapi.NewRegisterBody("alice", "correct horse")).Execute()
	good(answer, err)
	token, answer, err := accounts.Login(ctx).LoginBody(*openapi.NewLoginBody("alice", "correct horse")).Execute()
	good(answer, err)

	api := client(token.Token)
	status := []openapi.StatusCode{openapi.FAILED_400, openapi.FAILED_500}
	devices, answer, err := api.DevicesAPI.ListDevices(ctx).Status(status).Execute()
	good(answer, err)
	first := devices[0]
	check(first.SyncStatusCode == openapi.FAILED_400, "the filter by status")
	pending, answer, err := api.DevicesAPI.SyncDevice(ctx, first.DeviceId).Execute()
	good(answer, err)
	check(pending.SyncStatusCode == openapi.PENDING, "a pending device")
	check(answer.Header.Get("Pisync-Attempt") == "1", "the attempt's number")
	logs, answer, err := api.ErrorLogsAPI.ListErrors(ctx).Since(first.LastAttemptAt).
		Status([]openapi.FailureCode{openapi.FAILURE_400}).Execute()
	good(answer, err)
	found := false
	for _, log := range logs {
		found = found || log.DeviceId == first.DeviceId
	}
	check(found, "the device's error log")
	_, answer, err = api.DevicesAPI.GetDevice(ctx, 999).Execute()
	check(err != nil && answer.StatusCode == 404, "a device that is not there")

	fleets := client(os.Args[2]).FleetsAPI
	count := int32(3)
	body := openapi.NewFleetBody(openapi.Int32AsFirstData(&count))
	fleet, answer, err := fleets.PutFleet(ctx, "mine").FleetBody(*body).Execute()
	good(answer, err)
	check(fleet.Profile.Delay.LognormalDelay.Median == 2, "the default delay")
}
