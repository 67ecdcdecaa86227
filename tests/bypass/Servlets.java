// What stands behind the gateway in this campaign: one servlet for each first segment of UCS's paths. Each says in its
// answer which class took the request, with the method and path as the container saw them, and keeps a tally, so that a
// request whose answer nobody saw counts as well.
//
// Written against Servlet 4 (Jetty 9); `run` rewrites the package names for Servlet 5 (Tomcat 10).

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import javax.servlet.Filter;
import javax.servlet.FilterChain;
import javax.servlet.FilterConfig;
import javax.servlet.ServletException;
import javax.servlet.ServletRequest;
import javax.servlet.ServletResponse;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletRequestWrapper;
import javax.servlet.http.HttpServletResponse;

final class Servlets {
    /** Mapping to the name of the servlet. The last takes what no other does. */
    static final Map<String, String> MAPPINGS = Map.of(
            "/metadata/*", "metadata",
            "/profiles/*", "profiles",
            // Its own mapping: a POST here creates a schema, although it stands below the profiles.
            "/profiles/extensions/*", "profile_extensions",
            "/customers/*", "customers",
            "/services/*", "services",
            "/interactions/*", "interactions",
            "/server/*", "server",
            "/", "none");

    private static final Map<String, AtomicInteger> TALLY = new ConcurrentHashMap<>();

    /** Answers every method with the class that took the request. */
    static final class Named extends HttpServlet {
        private final String name;

        Named(String name) {
            this.name = name;
        }

        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
            String inner = request.getPathInfo() == null ? "" : request.getPathInfo();
            if (name.equals("none") && request.getRequestURI().equals("/tally")) {
                write(response, tally());
                return;
            }
            String method = request.getMethod();
            String taken = classOf(name, method, inner);
            TALLY.computeIfAbsent(taken + " " + method, key -> new AtomicInteger()).incrementAndGet();
            request.getInputStream().readAllBytes();
            String path = request.getServletPath() + inner;
            response.setHeader("Took", taken + " " + method + " " + escaped(path));
            write(response, taken + " " + method + " " + path + "\n");
        }
    }

    /** The class of the gateway's table that UCS would count the request to, by the container's own reading. */
    private static String classOf(String servlet, String method, String inner) {
        switch (servlet) {
            case "metadata":
                return "schema";
            case "profile_extensions":
                return method.equals("POST") && inner.replace("/", "").isEmpty() ? "schema" : "profile";
            case "profiles":
                return "profile";
            case "customers":
                return inner.matches("/[^/]*/services(/.*)?") ? "service" : "profile";
            case "services":
            case "interactions":
                return "service";
            default:
                return servlet;
        }
    }

    /** Does what filters of Spring, Symfony, IIS and others do: obeys headers that name another method or path. */
    static final class Obedient implements Filter {
        @Override
        public void init(FilterConfig config) {}

        @Override
        public void destroy() {}

        @Override
        public void doFilter(ServletRequest plain, ServletResponse response, FilterChain chain)
                throws IOException, ServletException {
            HttpServletRequest request = (HttpServletRequest) plain;
            String method = null;
            String path = null;
            for (String header : Collections.list(request.getHeaderNames())) {
                // Servers behind CGI and its heirs cannot tell an underscore from a dash.
                String name = header.toLowerCase().replace('_', '-');
                if (name.matches("x-(http-)?method(-override)?|x-(original|forwarded|envoy-original)-method")) {
                    method = request.getHeader(header);
                }
                if (name.matches("x-(original|rewrite|forwarded|envoy-original)-(url|uri|path)|x-servlet-path")) {
                    path = request.getHeader(header);
                }
            }
            String wanted = method == null ? request.getMethod() : method;
            HttpServletRequest obeyed = new HttpServletRequestWrapper(request) {
                @Override
                public String getMethod() {
                    return wanted;
                }
            };
            if (path != null && path.startsWith("/") && obeyed.getRequestDispatcher(path) != null) {
                obeyed.getRequestDispatcher(path).forward(obeyed, response);
            } else {
                chain.doFilter(obeyed, response);
            }
        }
    }

    /** `class method count` a line; starts anew. */
    private static String tally() {
        StringBuilder lines = new StringBuilder();
        new TreeMap<>(TALLY).forEach((key, count) -> lines.append(key).append(' ').append(count).append('\n'));
        TALLY.clear();
        return lines.toString();
    }

    private static void write(HttpServletResponse response, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        response.setContentType("text/plain;charset=utf-8");
        response.setContentLength(bytes.length);
        response.getOutputStream().write(bytes);
    }

    /** Everything but graphic ASCII as %XX of UTF-8, and % itself. */
    private static String escaped(String path) {
        StringBuilder text = new StringBuilder();
        for (byte each : path.getBytes(StandardCharsets.UTF_8)) {
            boolean plain = each > ' ' && each < 0x7f && each != '%';
            text.append(plain ? String.valueOf((char) each) : String.format("%%%02X", each & 0xff));
        }
        return text.toString();
    }
}
