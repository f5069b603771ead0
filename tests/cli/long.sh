# Shared by the cases in which each kind of output meets a fault: `. "$HELPERS/long.sh"`, then for each of $kinds `enter KIND`.
. "$HELPERS/lib.sh"
kinds='onnx gguf parts mlx'
cp "$MODELS/sparse.onnx" "$MODELS/tiny.onnx" . && truncate -s 1G sparse.data
ln -s "$MODELS/../checkpoints/phi3-4k-tiny" small
python3 "$HELPERS/sparse_checkpoint.py" small big

# Goes to a folder of its own and sets what is about this kind of output: $out; $first, a file of it; $large and $little,
# the arguments of a conversion that takes seconds and of a short one to the same files.
enter() {
  echo "- $1"
  mkdir "$1" && cd "$1"
  out=out
  case $1 in
    onnx)
      first=out/model.onnx large='../sparse.onnx -o out -p int4 --search' little='../tiny.onnx -o out -p int8' ;;
    gguf)
      out=out.gguf first=out.gguf
      large='../big -o out.gguf --scheme iq4_xs' little='../small -o out.gguf --scheme q8_0' ;;
    parts)
      first=out/out-00001-of-00003.gguf  # the long one has two parts
      large='../big -o out --format gguf --scheme iq4_xs --max-file-size 100M'
      little='../small -o out --format gguf --scheme q8_0 --max-file-size 400K' ;;
    mlx)
      first=out/model.safetensors
      large='../big -o out --format mlx --scheme nvfp4' little='../small -o out --format mlx -p int8' ;;
  esac
}

# An earlier output of the kind: one file that says 'old'.
put_old() { mkdir -p "$(dirname $first)" && echo old > $first; }

# stop SIGNALS [OPTION ...]: starts the long conversion and stops it in mid-write.
stop() {
  signals=$1
  shift
  python3 "$HELPERS/interrupt.py" $signals $out phiquant quantize $large --threads 1 "$@"
}

# What is here now, after which the next kind can begin.
leave() {
  find . -mindepth 1 | sort
  cd ..
}
