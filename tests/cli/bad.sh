# Shared by the bad-* cases: `bad FILE` inspects and quantizes it; nothing may be written.
. "$HELPERS/lib.sh"
bad() {
  run inspect "$1"
  run quantize "$1" -o out -p int4 -q
  test ! -e out || echo 'there is an output'
}
