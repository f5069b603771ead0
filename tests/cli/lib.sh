# Shared by the cases: `. "$HELPERS/lib.sh"`

# Runs phiquant and prints its exit code on stdout.
run() {
  code=0
  phiquant "$@" || code=$?
  echo "exit $code"
}

# Names of all that the folder $1 holds, hidden ones too, each on a line.
names() { ls -A "$1"; }

# Whether two files hold the same bytes.
same() { cmp -s "$1" "$2" && echo same || echo different; }
