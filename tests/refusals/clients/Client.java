import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.cert.X509Certificate;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/** Java's HttpURLConnection ("url") and java.net.http ("net", and "net2" over TLS and HTTP/2). */
class Client {
    static final int PIECES = 16;

    public static void main(String[] arguments) throws Exception {
        if (arguments[1].equals("--check")) {
            return;
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(" ");
            Body body = new Body(Integer.parseInt(parts[3]), Double.parseDouble(parts[4]), parts[5].equals("chunked"));
            boolean isHttp2 = arguments[0].equals("net2");
            URI uri = URI.create((isHttp2 ? "https://" : "http://") + arguments[1] + parts[1]);
            boolean expects = parts[6].equals("1");
            String said;
            try {
                said = String.valueOf(arguments[0].equals("url") ? byUrl(uri, body, expects) : byNet(uri, body, isHttp2));
            } catch (Exception error) {
                said = ("lost: " + error).replace('\n', ' ');
            }
            System.out.println(parts[0] + " " + said);
        }
    }

    record Body(int size, double seconds, boolean chunked) {
        boolean isWhole() {
            return seconds == 0 && !chunked;
        }

        byte[] piece(int number) {
            int length = size / PIECES;
            return new byte[number < PIECES - 1 ? length : size - length * (PIECES - 1)];
        }

        void rest() throws InterruptedException {
            Thread.sleep((long) (seconds * 1000 / PIECES));
        }

        /** As a stream that yields the pieces. */
        InputStream stream() {
            return new InputStream() {
                private int number;
                private byte[] piece = new byte[0];
                private int at;

                @Override
                public int read() {
                    byte[] one = new byte[1];
                    return read(one, 0, 1) < 0 ? -1 : one[0];
                }

                @Override
                public int read(byte[] into, int offset, int length) {
                    if (at == piece.length) {
                        if (number == PIECES) {
                            return -1;
                        }
                        try {
                            rest();
                        } catch (InterruptedException error) {
                            return -1;
                        }
                        piece = piece(number++);
                        at = 0;
                    }
                    int count = Math.min(length, piece.length - at);
                    System.arraycopy(piece, at, into, offset, count);
                    at += count;
                    return count;
                }
            };
        }
    }

    static int byUrl(URI uri, Body body, boolean expects) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        connection.setReadTimeout(60_000);
        connection.setRequestProperty("Content-Type", "application/json");
        if (expects) {
            connection.setRequestProperty("Expect", "100-continue");
        }
        if (body.chunked()) {
            connection.setChunkedStreamingMode(16 << 10);
        } else {
            connection.setFixedLengthStreamingMode(body.size());
        }
        try (OutputStream out = connection.getOutputStream()) {
            for (int number = 0; number < PIECES; number++) {
                out.write(body.piece(number));
                out.flush();
                body.rest();
            }
        } catch (java.net.ProtocolException refused) {
            // Expect: the final response came first.
        }
        int status = connection.getResponseCode();
        try (InputStream answer = connection.getErrorStream()) {
            if (answer != null) {
                answer.readAllBytes();
            }
        }
        connection.disconnect();
        return status;
    }

    /** Without Expect: Java 17 waits for 100 forever, whatever comes instead (JDK-8286171). */
    static int byNet(URI uri, Body body, boolean isHttp2) throws Exception {
        HttpRequest.BodyPublisher publisher = body.isWhole()
            ? HttpRequest.BodyPublishers.ofByteArray(new byte[body.size()])
            : HttpRequest.BodyPublishers.ofInputStream(body::stream);
        if (!body.chunked() && !body.isWhole()) {
            publisher = HttpRequest.BodyPublishers.fromPublisher(publisher, body.size());
        }
        HttpClient.Version version = isHttp2 ? HttpClient.Version.HTTP_2 : HttpClient.Version.HTTP_1_1;
        HttpRequest request = HttpRequest.newBuilder(uri)
            .version(version)
            .header("Content-Type", "application/json")
            .timeout(Duration.ofSeconds(60))
            .POST(publisher)
            .build();
        HttpClient client = HttpClient.newBuilder().version(version).sslContext(trustingAll()).build();
        HttpResponse<byte[]> response = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
        if (response.version() != version) {
            throw new IllegalStateException("over " + response.version());
        }
        return response.statusCode();
    }

    static SSLContext trustingAll() throws Exception {
        X509ExtendedTrustManager all = new X509ExtendedTrustManager() {
            @Override
            public void checkClientTrusted(X509Certificate[] chain, String type) {}

            @Override
            public void checkServerTrusted(X509Certificate[] chain, String type) {}

            @Override
            public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) {}

            @Override
            public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) {}

            @Override
            public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}

            @Override
            public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}

            @Override
            public X509Certificate[] getAcceptedIssuers() {
                return new X509Certificate[0];
            }
        };
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {all}, null);
        return context;
    }
}
