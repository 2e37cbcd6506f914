# Bash completion of sageptq: verbs, options, presets, components, parameters. The program itself knows the names
# (`sageptq __complete WORD...`), so this file never falls behind it; where it has none to offer, file names are completed.
# Use without installing: source scripts/completion.bash

_sageptq() {
  local words=() joined=0 word i candidate last prefix=""
  COMPREPLY=()
  # Bash takes = and : for words of their own; the program wants `a.b=v` and `FILE:NAME` whole.
  for ((i = 1; i <= COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    if [[ $word == [=:]* && ${#words[@]} -gt 0 ]]; then
      words[-1]+=$word
      joined=1
    elif ((joined)); then
      words[-1]+=$word
      joined=0
    else
      words+=("$word")
    fi
  done
  last=${words[-1]}
  # What stands before the last = or : stays as typed, so candidates are offered without it.
  if ((COMP_CWORD > 0)) && [[ $last == *[=:]* ]]; then prefix=${last%"${last##*[=:]}"}; fi
  while IFS= read -r candidate; do
    [[ -n $candidate ]] && COMPREPLY+=("${candidate#"$prefix"}")
  done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2> /dev/null)

  if ((${#COMPREPLY[@]} == 0)); then
    compopt -o filenames 2> /dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "${last#"$prefix"}")
  elif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
    compopt -o nospace 2> /dev/null
  fi
}
complete -F _sageptq sageptq
