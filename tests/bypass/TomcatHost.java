// Tomcat 10, embedded, with the servlets of Servlets.java. Prints "ready PORT VERSION" and runs until its input ends.
//
// Arguments: a directory of its own; `lenient`: obeys override headers, decodes %2F and %5C, takes a backslash as a
// separator and raw characters that it would refuse, as its options allow.

import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.apache.catalina.util.ServerInfo;
import org.apache.tomcat.util.descriptor.web.FilterDef;
import org.apache.tomcat.util.descriptor.web.FilterMap;

public final class TomcatHost {
    // Held, or the level is lost with the logger.
    private static final Logger LOGGER = Logger.getLogger("");

    public static void main(String[] arguments) throws Exception {
        LOGGER.setLevel(Level.WARNING);
        boolean lenient = arguments.length > 1 && arguments[1].equals("lenient");
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(arguments[0]);
        Connector connector = new Connector();
        connector.setPort(0);
        connector.setProperty("address", "127.0.0.1");
        connector.setProperty("maxKeepAliveRequests", "-1");
        if (lenient) {
            connector.setAllowBackslash(true);
            connector.setEncodedSolidusHandling("decode");
            connector.setEncodedReverseSolidusHandling("decode");
            connector.setProperty("relaxedPathChars", "\"<>[\\]^`{|}");
            connector.setProperty("relaxedQueryChars", "\"<>[\\]^`{|}");
            connector.setAllowTrace(true);
        }
        tomcat.setConnector(connector);
        Context context = tomcat.addContext("", null);
        for (Map.Entry<String, String> mapping : Servlets.MAPPINGS.entrySet()) {
            Tomcat.addServlet(context, mapping.getValue(), new Servlets.Named(mapping.getValue()));
            context.addServletMappingDecoded(mapping.getKey(), mapping.getValue());
        }
        if (lenient) {
            obeyHeaders(context);
        }
        tomcat.start();
        System.out.println("ready " + connector.getLocalPort() + " " + ServerInfo.getServerInfo());
        while (System.in.read() >= 0) {}
        System.exit(0);
    }

    private static void obeyHeaders(Context context) {
        FilterDef filter = new FilterDef();
        filter.setFilterName("obedient");
        filter.setFilter(new Servlets.Obedient());
        context.addFilterDef(filter);
        FilterMap everything = new FilterMap();
        everything.setFilterName("obedient");
        everything.addURLPattern("/*");
        context.addFilterMap(everything);
    }
}
