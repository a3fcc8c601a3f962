#include "microtome/cli/option_set.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <map>

#include "microtome/api/suggest.h"
#include "microtome/base/error.h"

namespace microtome::cli {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::kInvalidArgument, message); }

// ", 1 to 64": what a value may be. Bounds that stand for "any" are left out, unless it is they that the value breaks.
std::string bounds_text(bool beyond, double low, double high) {
  constexpr double kAny = 1e9;
  if (beyond || (low > -kAny && high < kAny)) return fmt::format(", {} to {}", low, high);
  return low > -kAny ? fmt::format(", {} or more", low) : high < kAny ? fmt::format(", {} or less", high) : "";
}

}  // namespace

int64_t parse_integer(std::string_view text, std::string_view what, int64_t low, int64_t high) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool beyond = error == std::errc::result_out_of_range || (error == std::errc() && value > high);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high)
    refuse(fmt::format("{} is \"{}\", expected a whole number{}", what, printable(text),
                       bounds_text(beyond, static_cast<double>(low), static_cast<double>(high))));
  return value;
}

double parse_number(std::string_view text, std::string_view what, double low, double high) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool beyond = error == std::errc::result_out_of_range || (error == std::errc() && std::isfinite(value) && value > high);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || value < low || value > high)
    refuse(fmt::format("{} is \"{}\", expected a number{}", what, printable(text), bounds_text(beyond, low, high)));
  return value;
}

// --- declaring -------------------------------------------------------------------------------------------------------------

OptionSet::Option& OptionSet::add(std::string name, std::string value, std::string help) {
  options_.push_back({.name = std::move(name), .value = std::move(value), .help = std::move(help), .group = group_});
  return options_.back();
}

void OptionSet::positional(std::string name, std::string help, std::string& target, bool required, Value kind) {
  Option& o = add(name, name, std::move(help));
  o.positional = true;
  o.required = required;
  o.kind = kind;
  o.set = [&target](const std::string& v) { target = v; };
}

void OptionSet::flag(std::string name, std::string help, bool& target) {
  Option& o = add(std::move(name), "", std::move(help));
  o.kind = Value::kNone;
  o.set = [&target](const std::string&) { target = true; };
}

void OptionSet::flag(std::string name, std::string help, std::optional<bool>& target, bool value) {
  Option& o = add(std::move(name), "", std::move(help));
  o.kind = Value::kNone;
  o.set = [&target, value](const std::string&) { target = value; };
}

void OptionSet::text(std::string name, std::string value, std::string help, std::optional<std::string>& target, Value kind) {
  Option& o = add(std::move(name), std::move(value), std::move(help));
  o.kind = kind;
  o.set = [&target](const std::string& v) { target = v; };
}

void OptionSet::texts(std::string name, std::string value, std::string help, std::vector<std::string>& target) {
  Option& o = add(std::move(name), std::move(value), std::move(help));
  o.repeatable = true;
  o.set = [&target](const std::string& v) { target.push_back(v); };
}

void OptionSet::integer(std::string name, std::string value, std::string help, int64_t& target, int64_t low, int64_t high) {
  Option& o = add(name, std::move(value), std::move(help));
  o.set = [&target, name, low, high](const std::string& v) { target = parse_integer(v, name, low, high); };
}

void OptionSet::number(std::string name, std::string value, std::string help, double& target, double low, double high) {
  Option& o = add(name, std::move(value), std::move(help));
  o.set = [&target, name, low, high](const std::string& v) { target = parse_number(v, name, low, high); };
}

void OptionSet::choice(std::string name, std::vector<std::string> choices, std::string help, std::string& target) {
  Option& o = add(name, fmt::format("{}", fmt::join(choices, "|")), std::move(help));
  o.choices = choices;
  o.set = [&target, name, choices](const std::string& v) {
    if (std::find(choices.begin(), choices.end(), v) == choices.end())
      refuse(fmt::format("{} is \"{}\", expected one of {}", name, printable(v), fmt::join(choices, ", ")));
    target = v;
  };
}

// --- parsing ---------------------------------------------------------------------------------------------------------------

void OptionSet::refuse_extra(const std::string& argument) const {
  const std::string name = argument.substr(0, argument.find('='));
  if (argument.size() < 2 || argument[0] != '-')
    refuse(fmt::format("unexpected argument \"{}\"; see `microtome {} --help`", printable(argument), command_));
  std::vector<std::string> known;
  for (const Option& o : options_)
    if (!o.positional) known.push_back(o.name);
  const std::string near = api::nearest_name(name, known);
  refuse(fmt::format("unknown option {}{}; see `microtome {} --help`", printable(name),
                     near.empty() ? "" : fmt::format(", did you mean {}?", near), command_));
}

bool OptionSet::parse(std::span<const std::string> arguments) {
  CLI::App app;
  app.set_help_flag("");
  app.allow_extras();
  std::map<std::string, const Option*> with_value;
  std::vector<std::pair<const Option*, CLI::Option*>> parsers;
  bool help = false;
  app.add_flag_callback("-h,--help", [&] { help = true; });
  // CLI11 splits the words; values reach the setters as they were typed.
  for (const Option& o : options_) {
    CLI::Option* parser = nullptr;
    if (o.value.empty()) {
      parser = app.add_flag(o.name);
    } else {
      parser = app.add_option(o.name, [](const CLI::results_t&) { return true; });
      parser->expected(1)->allow_extra_args(false)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
      if (!o.positional) with_value[o.name] = &o;
    }
    parsers.emplace_back(&o, parser);
  }
  std::vector<std::string> words;  // CLI11 takes the last word first
  for (const std::string& a : arguments) {
    const size_t equals = a.find('=');
    if (equals != std::string::npos && with_value.contains(a.substr(0, equals))) {
      words.push_back(a.substr(0, equals));
      words.push_back(a.substr(equals + 1));
    } else {
      words.push_back(a);
    }
  }
  std::string last = words.empty() ? "" : words.back();
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::ParseError& e) {
    if (with_value.contains(last)) refuse(fmt::format("{0} needs a value: {0} {1}", last, with_value[last]->value));
    refuse(fmt::format("{}; see `microtome {} --help`", printable(e.what(), 300), command_));
  }
  if (help) return false;
  if (const auto extra = app.remaining(); !extra.empty()) refuse_extra(extra.front());
  for (const auto& [option, parser] : parsers) {
    if (parser->count() == 0 && option->required)
      refuse(fmt::format("{} is missing: give {}; see `microtome {} --help`", option->name, option->help, command_));
    if (!option->value.empty() && !option->repeatable && parser->count() > 1)
      refuse(fmt::format("{} is given twice; give it once", option->name));
    if (parser->count() == 0) continue;
    if (option->value.empty()) option->set("");
    else
      for (const std::string& value : parser->results()) option->set(value);
  }
  return true;
}

// --- help ------------------------------------------------------------------------------------------------------------------

std::string OptionSet::help() const {
  std::string out = fmt::format("microtome {}: {}\n\nUsage: microtome {}", command_, summary_, command_);
  for (const Option& o : options_)
    if (o.positional) out += o.required ? fmt::format(" {}", o.name) : fmt::format(" [{}]", o.name);
  out += " [OPTIONS]\n";
  const auto left = [](const Option& o) { return o.positional || o.value.empty() ? o.name : o.name + " " + o.value; };
  size_t width = 0;
  for (const Option& o : options_)
    if (left(o).size() <= 28) width = std::max(width, left(o).size());
  std::string heading;
  for (const Option& o : options_) {
    if (const std::string& group = o.positional ? "" : o.group; group != heading) {
      heading = group;
      out += fmt::format("\n{}\n", heading);
    } else if (o.positional && &o == &options_.front()) {
      out += "\n";
    }
    const std::string name = left(o);
    out += fmt::format("  {:<{}}", name, width);
    if (name.size() > width) out += fmt::format("\n  {:<{}}", "", width);
    out += fmt::format("  {}{}\n", o.help, o.repeatable ? " (repeatable)" : "");
  }
  if (!examples_.empty()) out += "\nExamples\n";
  for (const std::string& e : examples_) out += "  " + e + "\n";
  return out;
}

}  // namespace microtome::cli
