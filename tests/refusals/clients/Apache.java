import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.apache.http.client.config.RequestConfig;
import org.apache.http.client.methods.CloseableHttpResponse;
import org.apache.http.client.methods.HttpPost;
import org.apache.http.entity.AbstractHttpEntity;
import org.apache.http.entity.ByteArrayEntity;
import org.apache.http.entity.InputStreamEntity;
import org.apache.http.impl.client.CloseableHttpClient;
import org.apache.http.impl.client.HttpClients;
import org.apache.http.util.EntityUtils;

/** Apache HttpClient 4, without retries. */
class Apache {
    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("--check")) {
            HttpClients.createDefault().close();
            return;
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(" ");
            int size = Integer.parseInt(parts[3]);
            Client.Body body = new Client.Body(size, Double.parseDouble(parts[4]), parts[5].equals("chunked"));
            HttpPost post = new HttpPost("http://" + arguments[0] + parts[1]);
            post.setHeader("Content-Type", "application/json");
            AbstractHttpEntity entity = body.isWhole()
                ? new ByteArrayEntity(new byte[size])
                : new InputStreamEntity(body.stream(), body.chunked() ? -1 : size);
            entity.setChunked(body.chunked());
            post.setEntity(entity);
            post.setConfig(RequestConfig.custom()
                .setExpectContinueEnabled(parts[6].equals("1"))
                .setSocketTimeout(60_000)
                .build());
            String said;
            try (CloseableHttpClient client = HttpClients.custom().disableAutomaticRetries().build();
                CloseableHttpResponse response = client.execute(post)) {
                EntityUtils.consume(response.getEntity());
                said = String.valueOf(response.getStatusLine().getStatusCode());
            } catch (Exception error) {
                said = ("lost: " + error).replace('\n', ' ');
            }
            System.out.println(parts[0] + " " + said);
        }
    }
}
