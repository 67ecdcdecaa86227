import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;

/** Sends requests that the gateway refuses, with Java's own client, and prints the status of each answer. */
class Client {
    private static final int LONG = 4 << 20;

    public static void main(String[] arguments) throws Exception {
        HttpURLConnection long_ = open(arguments[0]);
        long_.setFixedLengthStreamingMode(LONG);
        send(long_, new byte[LONG], 1, 0);
        HttpURLConnection chunked = open(arguments[0]);
        chunked.setChunkedStreamingMode(64 << 10);
        send(chunked, new byte[64 << 10], 64, 0);
        HttpURLConnection slow = open(arguments[0]);
        slow.setFixedLengthStreamingMode(16 * 2560);
        send(slow, new byte[2560], 16, 100);
        for (int turn = 0; turn < 4; turn++) {
            send(open(arguments[0]), new byte[200], 1, 0);
        }
    }

    private static HttpURLConnection open(String address) throws Exception {
        URI uri = URI.create("http://" + address + "/metadata/profiles/extensions");
        HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        connection.setReadTimeout(30_000);
        return connection;
    }

    private static void send(HttpURLConnection connection, byte[] piece, int pieces, int pause) throws Exception {
        try (OutputStream body = connection.getOutputStream()) {
            for (int number = 0; number < pieces; number++) {
                Thread.sleep(pause);
                body.write(piece);
                body.flush();
            }
        }
        int status = connection.getResponseCode();
        // Read to its end, so that the connection can be used again.
        try (InputStream answer = connection.getErrorStream()) {
            answer.readAllBytes();
        }
        System.out.println(status);
    }
}
