#!/bin/bash
# systemctl VERB weir, where there is no systemd: what weir.service does, for the pages of docs/ that are run.
file=/etc/weir/weir.yaml pid=/run/weir-service.pid socket=/run/weir/weir.sock
case $1 in
start | restart)
    [ "$1" = start ] || "$0" stop
    mkdir -p /run/weir
    weir check -c $file >/dev/null || exit 1
    setsid weir run -c $file </dev/null >>/var/log/weir/stdout 2>>/var/log/weir/weir.log &
    echo $! >$pid
    for _ in $(seq 200); do
        weir status -s $socket >/dev/null 2>&1 && exit 0
        sleep 0.05
    done
    exit 1
    ;;
reload)
    [ -f $pid ] || exec "$0" start # the package has started it
    weir reload -s $socket >/dev/null
    ;;
stop)
    [ -f $pid ] || exit 0
    kill "$(cat $pid)" 2>/dev/null
    rm -f $pid
    ;;
enable) ;;
is-active) weir status -s $socket >/dev/null 2>&1 && echo active ;;
esac
