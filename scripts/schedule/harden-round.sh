#!/bin/sh
# Run by cron or a systemd timer: runs the round that is due, and says nothing where none is.
#
#     HARDEN_ROUNDS=/srv/model harden-round.sh
#
# HARDEN_ROUNDS: the folder that holds rounds/. HARDEN: how harden is called, "python -m harden" where left out.
# Leaves with the round's exit code: 0 promoted, 3 refused by its gates, others as in the README.
set -eu

: "${HARDEN_ROUNDS:?names the folder that holds rounds/}"
HARDEN=${HARDEN:-"python3 -m harden"}
cd "$HARDEN_ROUNDS"

# unquoted on purpose: it may be several words
due=$($HARDEN round action=due) && exit 0
case $due in
due:* | overdue:*) ;;
*) printf '%s\n' "$due" >&2 && exit 1 ;;
esac
quarter=$(printf '%s\n' "$due" | sed -n 's/^.* round=\([0-9]\{4\}Q[1-4]\) .*$/\1/p')
printf '%s\n' "$due"
exec $HARDEN round "round=$quarter" +attack=pgd
