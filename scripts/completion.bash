# Bash completion of sageptq: verbs, options, presets, components, files. The program itself knows the names
# (`sageptq complete ...`), so this file never falls behind it. Use without installing: source scripts/completion.bash

_sageptq() {
  local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb="" word i names=""
  COMPREPLY=()
  names_of() { "$program" complete "$@" 2> /dev/null; }

  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    if [[ $word != -* ]]; then
      verb=$word
      break
    fi
  done
  # Bash takes the = of --set a.b=v for a word of its own.
  [[ $current == "=" ]] && current="" && previous="="

  if [[ -z $verb ]]; then
    names=$(names_of verbs)
  elif [[ $current == -* ]]; then
    names=$(names_of options "$verb")
  else
    case $previous in
      = | --kind) names=$(names_of components) ;;
      --method) names=$(names_of presets) ;;
      --protocol) names="gptq-2048 llamacpp-512" ;;
      --format) names="text json markdown latex csv" ;;
      *)
        case $verb in
          run | check) names=$(names_of presets) ;;
          describe) names="$(names_of presets) $(names_of components)" ;;
          list) names="presets components saliency grouping quantizer threshold transform compensator coder" ;;
          help) names=$(names_of verbs) ;;
        esac
        ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$names" -- "$current")
  if ((${#COMPREPLY[@]} == 0)) && [[ -n $verb ]]; then
    compopt -o filenames 2> /dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}
complete -F _sageptq sageptq
