#!/bin/sh
# Reads variables from files, as secrets of Docker are: NAME_FILE=/run/secrets/name sets NAME. Then it is the command.
set -eu
folder=${SECRETS_FOLDER:-/run/secrets}
for name in $(env | sed -n "s#^\([A-Z][A-Z0-9_]*\)_FILE=$folder/.*#\1#p"); do
    eval "file=\$${name}_FILE"
    if [ ! -r "$file" ]; then
        echo "entrypoint: ${name}_FILE names '$file', which cannot be read: mount the secret, and let the user $(id -u) read it" >&2
        exit 2
    fi
    if [ -n "$(eval "printf %s \"\${$name-}\"")" ]; then
        echo "entrypoint: both $name and ${name}_FILE are set: leave one of them out" >&2
        exit 2
    fi
    export "$name=$(cat "$file")"
    unset "${name}_FILE"
done
exec "$@"
