#include <algorithm>
#include <map>

#include "microtome/base/error.h"
#include "microtome/circuits/graph/graph.h"

namespace microtome {
namespace {

constexpr const char* kStart = "start";

// The role of each position of an example that names some.
std::vector<std::string> named_roles(const Example& e) {
  std::vector<std::string> at(e.length());
  for (const auto& [role, p] : e.positions) at[p] = at[p].empty() ? role : std::min(at[p], role);
  std::string last;
  for (std::string& role : at) {
    if (!role.empty()) last = role;
    else role = last.empty() ? kStart : last + "+";
  }
  return at;
}

}  // namespace

std::vector<std::string> position_roles(const std::vector<Example>& examples) {
  MT_CHECK(!examples.empty());
  const size_t named = std::count_if(examples.begin(), examples.end(), [](const Example& e) { return !e.positions.empty(); });
  if (named == 0) {
    for (const Example& e : examples)
      if (e.length() != examples[0].length())
        throw Error(ErrorKind::kInvalidArgument,
                    "--positions: the prompts name no positions and are {} and {} tokens long; name positions in the pairs "
                    "(\"positions\": {{\"S\": 3}}), use a task, or prompts of one length",
                    examples[0].length(), e.length());
    std::vector<std::string> roles;
    for (int64_t p = 0; p < examples[0].length(); ++p) roles.push_back(std::to_string(p));
    return roles;
  }
  if (named < examples.size())
    throw Error(ErrorKind::kInvalidArgument, "--positions: {} of the {} prompts name no positions; name them in all or in none",
                examples.size() - named, examples.size());
  // In the order of where they lie, on average over the examples.
  std::map<std::string, std::pair<double, int64_t>> place;
  for (const Example& e : examples) {
    const std::vector<std::string> at = named_roles(e);
    for (size_t p = 0; p < at.size(); ++p) {
      place[at[p]].first += static_cast<double>(p) / static_cast<double>(at.size());
      ++place[at[p]].second;
    }
  }
  std::vector<std::string> roles;
  for (const auto& [role, sum] : place) roles.push_back(role);
  const auto mean = [&](const std::string& role) { return place[role].first / static_cast<double>(place[role].second); };
  std::stable_sort(roles.begin(), roles.end(), [&](const auto& a, const auto& b) { return mean(a) < mean(b); });
  return roles;
}

std::vector<int32_t> role_of_positions(const Graph& graph, const Example& e) {
  std::vector<int32_t> out(e.length(), 0);
  if (!graph.by_position()) return out;
  const auto& roles = graph.roles();
  std::vector<std::string> at = named_roles(e);
  if (e.positions.empty())
    for (size_t p = 0; p < at.size(); ++p) at[p] = std::to_string(p);
  for (size_t p = 0; p < at.size(); ++p) {
    const auto it = std::find(roles.begin(), roles.end(), at[p]);
    if (it == roles.end())
      throw Error(ErrorKind::kInvalidArgument, "position {} of a prompt has the role \"{}\", which the graph does not have", p,
                  printable(at[p]));
    out[p] = static_cast<int32_t>(it - roles.begin());
  }
  return out;
}

}  // namespace microtome
