# What the recipes of docs/operations.md find on a machine with the package: its service, by a function in place of systemctl.
# SITE is a folder, PROGRAM the gateway, FLAGS what the test adds.
set -euo pipefail
ucs-gateway() { "$PROGRAM" "$@"; }
runs() { [ -e "$SITE/pid" ] && grep -qs '^State:[[:space:]]*[^Z]' "/proc/$(cat "$SITE/pid")/status"; }
starts() { grep -c '"message":"ready"' "$SITE/log" || true; }
systemctl() {
  case "$1" in
    stop | restart)
      kill "$(cat "$SITE/pid")"
      while runs; do sleep 0.02; done
      ;;&
    start | restart)
      local before
      touch "$SITE/log"
      before=$(starts)
      (
        set -a
        . "$SITE/etc/environment"
        # shellcheck disable=SC2086 # several flags
        exec env -u UCS_GATEWAY_ADMIN -u UCS_GATEWAY_TOKEN "$PROGRAM" serve --routes "$SITE/etc/routes.yaml" \
          --state-dir "$SITE/state" --listen 127.0.0.1:0 --admin-listen "unix:$SITE/admin.sock" --log-format json --stop-linger 0s \
          --upstream-poll 100ms --orphan-grace 200ms $FLAGS
      ) >>"$SITE/log" 2>&1 </dev/null &
      echo $! >"$SITE/pid"
      until [ "$(starts)" -gt "$before" ]; do
        runs || { cat "$SITE/log" >&2; return 1; }
        sleep 0.02
      done
      ;;
    reload) kill -HUP "$(cat "$SITE/pid")" ;;
  esac
}
