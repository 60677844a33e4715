import java.util.List;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.AccountsApi;
import org.openapitools.client.api.DevicesApi;
import org.openapitools.client.api.ErrorLogsApi;
import org.openapitools.client.api.FleetsApi;
import org.openapitools.client.model.FailureCode;
import org.openapitools.client.model.FleetBody;
import org.openapitools.client.model.LoginBody;
import org.openapitools.client.model.LognormalDelay;
import org.openapitools.client.model.RegisterBody;
import org.openapitools.client.model.StatusCode;

/** Calls a server through what openapi-generator makes for Java. */
public class Calls {
    static ApiClient client(String url, String token) {
        var client = new ApiClient();
        client.updateBaseUri(url);
        if (token != null) {
            client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + token));
        }
        return client;
    }

    static void check(boolean holds, String message) {
        if (!holds) {
            throw new AssertionError(message);
        }
    }

    public static void main(String[] arguments) throws ApiException {
        var url = arguments[0];
        var accounts = new AccountsApi(client(url, null));
        accounts.register(AccountsApi.APIRegisterRequest.newBuilder()
            .registerBody(new RegisterBody().username("alice").password("correct horse")).build());
        var token = accounts.login(AccountsApi.APILoginRequest.newBuilder()
            .loginBody(new LoginBody().username("alice").password("correct horse")).build()).getToken();

        var devices = new DevicesApi(client(url, token));
        var first = devices.listDevices(DevicesApi.APIListDevicesRequest.newBuilder()
            .status(List.of(StatusCode.FAILED_400, StatusCode.FAILED_500)).build()).get(0);
        check(first.getSyncStatusCode() == StatusCode.FAILED_400, "the filter by status");
        var accepted = devices.syncDeviceWithHttpInfo(DevicesApi.APISyncDeviceRequest.newBuilder()
            .deviceId(first.getDeviceId()).build());
        check(accepted.getData().getSyncStatusCode() == StatusCode.PENDING, "a pending device");
        check(accepted.getHeaders().get("pisync-attempt").equals(List.of("1")), "the attempt's number");
        var logs = new ErrorLogsApi(client(url, token)).listErrors(ErrorLogsApi.APIListErrorsRequest.newBuilder()
            .since(first.getLastAttemptAt()).status(List.of(FailureCode.FAILURE_400)).build());
        check(logs.stream().anyMatch(log -> log.getDeviceId().equals(first.getDeviceId())), "the device's error log");
        try {
            devices.getDevice(DevicesApi.APIGetDeviceRequest.newBuilder().deviceId(999L).build());
            check(false, "a device that is not there");
        } catch (ApiException error) {
            check(error.getCode() == 404, "a device that is not there");
        }

        var fleet = new FleetsApi(client(url, arguments[1])).putFleet(FleetsApi.APIPutFleetRequest.newBuilder()
            .fleet("mine").fleetBody(new FleetBody().devices(3)).build());
        check(((LognormalDelay) fleet.getProfile().getDelay().getActualInstance()).getMedian().doubleValue() == 2, "the default delay");
    }
}
