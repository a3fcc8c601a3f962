// The served model, which may still be loading. Any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "microtome/model/model.h"

namespace microtome::server {

class ModelSlot {
 public:
  // `loading`: a model will come; else there is none and there will be none.
  ModelSlot(std::string name, bool loading) : name_(std::move(name)), loading_(loading) {}

  void set(std::shared_ptr<const Model> model);
  bool loading() const;
  const std::string& name() const { return name_; }

  // Throws HttpError 503 while there is none.
  std::shared_ptr<const Model> get() const;

  // Checks the field `model` of a request (null: the served one). Throws HttpError 422 for what looks like a path, 404 for
  // another name.
  void check_name(const Json* model) const;

 private:
  const std::string name_;
  mutable std::mutex mutex_;
  std::shared_ptr<const Model> model_;
  bool loading_;
};

}  // namespace microtome::server
