#!/bin/sh
# compile.sh COMPILER ARGUMENT...: compiles, through ccache where it is installed at that moment. The commands of a build name this script
# in any case, so that nothing is built again because ccache came or went.
ccache=$(command -v ccache) || exec "$@"
[ "$1" -ef "$ccache" ] && exec "$@"  # the compiler is a link to ccache already
exec "$ccache" "$@"
