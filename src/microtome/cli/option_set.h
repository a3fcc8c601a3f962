// OptionSet: what one command accepts. It parses arguments, prints the command's help, and is read by `completion`.
//
//   OptionSet options("lens", "logit lens at every layer");
//   options.positional("MODEL", "a name, a .gguf file or a folder", model);
//   options.integer("--top", "K", "tokens shown in each cell", top, 0, 1000);
//   options.example("microtome lens smollm2-135m --prompt 'The capital of Portugal is the city of'");
//   if (!options.parse(arguments)) { print(options.help()); return; }        // --help was among them
//
// Targets outlive the set; one that is not named on the command line keeps its value. Everything parse() refuses is an
// Error(kInvalidArgument) of one line that names the option, what was found and what to give. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace microtome::cli {

class OptionSet {
 public:
  enum class Value { kNone, kText, kFile, kModel };  // what completion offers after the option

  struct Option {
    std::string name;   // "--top"; "MODEL" for positionals
    std::string value;  // "K"; empty for flags
    std::string help;
    std::string group;  // heading in --help
    Value kind = Value::kText;
    std::vector<std::string> choices;
    bool positional = false, required = false, repeatable = false;
    std::function<void(const std::string&)> set;
  };

  OptionSet(std::string command, std::string summary) : command_(std::move(command)), summary_(std::move(summary)) {}

  // Options declared from here on appear under this heading.
  void group(std::string name) { group_ = std::move(name); }

  void positional(std::string name, std::string help, std::string& target, bool required = true, Value kind = Value::kModel);
  void flag(std::string name, std::string help, bool& target);
  void flag(std::string name, std::string help, std::optional<bool>& target, bool value);
  void text(std::string name, std::string value, std::string help, std::optional<std::string>& target, Value kind = Value::kText);
  void texts(std::string name, std::string value, std::string help, std::vector<std::string>& target);  // repeatable
  void integer(std::string name, std::string value, std::string help, int64_t& target, int64_t low, int64_t high);
  void number(std::string name, std::string value, std::string help, double& target, double low, double high);
  void choice(std::string name, std::vector<std::string> choices, std::string help, std::string& target);

  void example(std::string line) { examples_.push_back(std::move(line)); }

  // False if --help (or -h) is among the arguments; then no target is touched.
  bool parse(std::span<const std::string> arguments);

  std::string help() const;
  std::span<const Option> options() const { return options_; }

 private:
  Option& add(std::string name, std::string value, std::string help);
  [[noreturn]] void refuse_extra(const std::string& argument) const;

  std::string command_, summary_, group_ = "Options";
  std::vector<Option> options_;
  std::vector<std::string> examples_;
};

// Parsed strictly: all of `text`, within the bounds. `what` begins the message.
int64_t parse_integer(std::string_view text, std::string_view what, int64_t low, int64_t high);
double parse_number(std::string_view text, std::string_view what, double low, double high);

}  // namespace microtome::cli
