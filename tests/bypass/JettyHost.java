// Jetty 9, embedded, with the servlets of Servlets.java. Prints "ready PORT VERSION" and runs until its input ends.
//
// Argument `lenient`: obeys override headers, and reads URIs as Jetty did before it had a compliance mode.

import java.util.EnumSet;
import java.util.Map;
import javax.servlet.DispatcherType;
import org.eclipse.jetty.http.HttpCompliance;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.servlet.FilterHolder;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;

public final class JettyHost {
    public static void main(String[] arguments) throws Exception {
        boolean lenient = arguments.length > 0 && arguments[0].equals("lenient");
        Server server = new Server();
        HttpConnectionFactory http = new HttpConnectionFactory();
        if (lenient) {
            http.setHttpCompliance(HttpCompliance.LEGACY);
        }
        ServerConnector connector = new ServerConnector(server, http);
        connector.setHost("127.0.0.1");
        connector.setPort(0);
        server.addConnector(connector);
        ServletContextHandler context = new ServletContextHandler(null, "/");
        for (Map.Entry<String, String> mapping : Servlets.MAPPINGS.entrySet()) {
            context.addServlet(new ServletHolder(new Servlets.Named(mapping.getValue())), mapping.getKey());
        }
        if (lenient) {
            // "//" as "/".
            context.setCompactPath(true);
            context.addFilter(new FilterHolder(new Servlets.Obedient()), "/*", EnumSet.of(DispatcherType.REQUEST));
        }
        server.setHandler(context);
        server.start();
        System.out.println("ready " + connector.getLocalPort() + " Jetty " + Server.getVersion());
        while (System.in.read() >= 0) {}
        System.exit(0);
    }
}
