#!/bin/sh
# Makes the secrets of compose.yaml in ./secrets, each once. Files are readable by the user of the containers, and the
# folder by you alone.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
make() { # make NAME TEXT
    if [ -e "secrets/$1" ]; then
        echo "secrets/$1 is there"
    else
        printf '%s\n' "$2" > "secrets/$1"
        echo "secrets/$1 was made"
    fi
    chmod 444 "secrets/$1"
}
make postgres "$(random)"
make store "postgresql://agents:$(cat secrets/postgres)@postgres:5432/agents"
make nats_token "$(random)"
make nats "nats://$(cat secrets/nats_token)@nats:4222"
make nats.conf "port: 4222
http_port: 8222
jetstream { store_dir: /data }
authorization { token: \"$(cat secrets/nats_token)\" }"
make token "$(random)"
make grafana "$(random)"
