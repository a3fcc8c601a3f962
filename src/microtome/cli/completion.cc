#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"

namespace microtome::cli {
namespace {

using Value = OptionSet::Value;

// Each command with its options, as its own declare() gives them.
std::vector<std::pair<CommandEntry, OptionSet>> described_commands(std::vector<std::unique_ptr<Command>>& owners) {
  std::vector<std::pair<CommandEntry, OptionSet>> out;
  for (const CommandEntry& entry : commands()) {
    owners.push_back(entry.make());
    OptionSet options(entry.name, entry.summary);
    owners.back()->declare(options);
    out.emplace_back(entry, std::move(options));
  }
  return out;
}

// In single quotes, for the shell.
std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

bool takes_model(const OptionSet& options) {
  for (const OptionSet::Option& o : options.options())
    if (o.positional && o.name == "MODEL") return true;
  return false;
}

using Described = std::vector<std::pair<CommandEntry, OptionSet>>;

std::string bash_script(const Described& all) {
  std::string out =
      "# microtome: completion for bash. Load it with:  source <(microtome completion bash)\n"
      "_microtome() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} options= model=\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '";
  for (const auto& [entry, options] : all) out += std::string(entry.name) + " ";
  out += "--help --version' -- \"$word\"))\n    return\n  fi\n  case $before in\n";
  std::string files;
  for (const auto& [entry, options] : all)
    for (const OptionSet::Option& o : options.options()) {
      if (!o.choices.empty() && !o.positional && out.find("    " + o.name + ")") == std::string::npos)
        out += fmt::format("    {}) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return ;;\n", o.name, fmt::join(o.choices, " "));
      if (o.kind == Value::kFile && ("|" + files + "|").find("|" + o.name + "|") == std::string::npos)
        files += (files.empty() ? "" : "|") + o.name;
    }
  out += "    " + files + ") COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n  esac\n  case ${COMP_WORDS[1]} in\n";
  for (const auto& [entry, options] : all) {
    out += fmt::format("    {}) options='", entry.name);
    for (const OptionSet::Option& o : options.options())
      if (!o.positional) out += o.name + " ";
    out += fmt::format("--help'{} ;;\n", takes_model(options) ? " model=yes" : "");
  }
  return out +
         "  esac\n"
         "  if [[ $word == -* ]]; then COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
         "  elif [ \"$COMP_CWORD\" -eq 2 ] && [ -n \"$model\" ]; then\n"
         "    COMPREPLY=($(compgen -f -W \"$(microtome models 2>/dev/null | awk 'NR > 1 && NF > 4 {print $1}')\" -- \"$word\"))\n"
         "  elif [ \"${COMP_WORDS[1]}\" = completion ]; then COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$word\"))\n"
         "  else COMPREPLY=($(compgen -f -- \"$word\")); fi\n"
         "}\n"
         "complete -o filenames -F _microtome microtome\n";
}

// zsh reads brackets and colons in descriptions as its own.
std::string zsh_words(std::string text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_script(const Described& all) {
  std::string out =
      "#compdef microtome\n"
      "# microtome: completion for zsh. Load it with:  source <(microtome completion zsh)\n"
      "_microtome_models() {\n"
      "  local -a names\n"
      "  names=(${(f)\"$(microtome models 2>/dev/null | awk 'NR > 1 && NF > 4 {print $1}')\"})\n"
      "  _alternative \"models:model:(${names[*]})\" 'files:file:_files'\n"
      "}\n"
      "_microtome() {\n"
      "  if (( CURRENT == 2 )); then\n"
      "    local -a commands\n"
      "    commands=(\n";
  for (const auto& [entry, options] : all)
    out += "      " + shell_quoted(std::string(entry.name) + ":" + zsh_words(entry.summary)) + "\n";
  out +=
      "    )\n    _describe command commands\n    return\n  fi\n  local command=$words[2]\n  shift words; (( CURRENT-- ))\n  "
      "case $command in\n";
  for (const auto& [entry, options] : all) {
    out += fmt::format("    {}) _arguments --help'[this command and its examples]'", entry.name);
    for (const OptionSet::Option& o : options.options()) {
      if (o.positional) {
        const char* what = o.name == "MODEL"   ? ":model:_microtome_models"
                           : o.name == "SHELL" ? ":shell:(bash zsh fish)"
                                               : ":name:";
        out += std::string(" ") + shell_quoted(what);
        continue;
      }
      std::string spec = (o.repeatable ? "*" : "") + o.name + "[" + zsh_words(o.help) + "]";
      if (!o.value.empty())
        spec += ":" + zsh_words(o.value) + ":" +
                (!o.choices.empty()       ? fmt::format("({})", fmt::join(o.choices, " "))
                 : o.kind == Value::kFile ? "_files"
                                          : "");
      out += " " + shell_quoted(spec);
    }
    out += " ;;\n";
  }
  return out +
         "  esac\n}\nif [ \"$funcstack[1]\" = _microtome ]; then _microtome \"$@\"; else compdef _microtome microtome; fi\n";
}

std::string fish_script(const Described& all) {
  std::string out =
      "# microtome: completion for fish. Load it with:  microtome completion fish | source\n"
      "complete -c microtome -f\n";
  std::string models;
  for (const auto& [entry, options] : all) {
    out += fmt::format("complete -c microtome -n __fish_use_subcommand -a {} -d {}\n", entry.name, shell_quoted(entry.summary));
    const std::string condition = fmt::format("complete -c microtome -n '__fish_seen_subcommand_from {}'", entry.name);
    if (takes_model(options)) models += (models.empty() ? "" : " ") + std::string(entry.name);
    for (const OptionSet::Option& o : options.options()) {
      if (o.positional) continue;
      out += condition + " -l " + o.name.substr(2) + " -d " + shell_quoted(o.help);
      if (!o.choices.empty()) out += " -x -a " + shell_quoted(fmt::format("{}", fmt::join(o.choices, " ")));
      else if (o.kind == Value::kFile) out += " -r -F";
      else if (!o.value.empty()) out += " -x";
      out += "\n";
    }
  }
  out += fmt::format(
      "complete -c microtome -n '__fish_seen_subcommand_from {}' -F -a \"(microtome models 2>/dev/null | awk 'NR > 1 && NF > 4 "
      "{{print \\$1}}')\"\n",
      models);
  return out + "complete -c microtome -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n";
}

class CompletionCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    options.positional("SHELL", "bash, zsh or fish", shell_, true, Value::kText);
    options.example("source <(microtome completion bash)");
    options.example("microtome completion fish > ~/.config/fish/completions/microtome.fish");
  }

  void run() override {
    std::vector<std::unique_ptr<Command>> owners;
    const Described all = described_commands(owners);
    Output out;
    if (shell_ == "bash") out.write(bash_script(all));
    else if (shell_ == "zsh") out.write(zsh_script(all));
    else if (shell_ == "fish") out.write(fish_script(all));
    else throw Error(ErrorKind::kInvalidArgument, "shell \"{}\" is not known; give bash, zsh or fish", printable(shell_));
    out.finish();
  }

 private:
  std::string shell_;
};

}  // namespace

std::unique_ptr<Command> make_completion() { return std::make_unique<CompletionCommand>(); }

}  // namespace microtome::cli
