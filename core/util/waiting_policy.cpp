#include "core/util/waiting_policy.h"

#include <unistd.h>

// ELF has one kind of function that runs before the constructors of shared libraries: those of .preinit_array. The C library is
// not initialised there. It keeps the environment as the kernel laid it out, an array without a free slot, so setenv is of no
// use. So the slot of a variable that no library reads while it is loaded holds the setting until the constructors of the
// program run, after those of all libraries; then the variable is back. Child processes see nothing of it.
namespace sage {
namespace {

constexpr const char* kUsers[] = {"OMP_WAIT_POLICY=", "GOMP_SPINCOUNT="};
// What a shell, a container, a service or a batch system sets at the least.
constexpr const char* kLent[] = {
    "_=", "SHLVL=", "OLDPWD=", "PWD=", "SAGEPTQ_", "PATH=", "USER=", "LOGNAME=", "HOME=", "HOSTNAME=", "SHELL=", "TERM="};

char setting[] = "OMP_WAIT_POLICY=passive";
char* lent = nullptr;   // the variable whose slot holds the setting
char* users = nullptr;  // the user's own setting

#define SAGE_BEFORE_ALL __attribute__((no_sanitize("address", "undefined", "thread")))

SAGE_BEFORE_ALL bool begins(const char* text, const char* with) {
  for (; *with != '\0'; ++text, ++with)
    if (*text != *with) return false;
  return true;
}

SAGE_BEFORE_ALL void before_libraries(int, char**, char** environment) {
  for (char** e = environment; *e != nullptr; ++e)
    for (const char* name : kUsers)
      if (users == nullptr && begins(*e, name)) users = *e;
  if (users != nullptr) return;
  for (const char* name : kLent)
    for (char** e = environment; *e != nullptr; ++e)
      if (begins(*e, name)) {
        lent = *e;
        *e = setting;
        return;
      }
}

__attribute__((section(".preinit_array"), used)) void (*const first)(int, char**, char**) = before_libraries;

// Wherever the slot is by now: a library may have moved the array.
__attribute__((constructor(101))) void after_libraries() {
  for (char** e = environ; e != nullptr && *e != nullptr; ++e)
    if (*e == setting) *e = lent;
}

}  // namespace

WaitingPolicy waiting_policy() {
  if (users != nullptr) return {users, true};
  return {lent != nullptr ? setting : "", false};
}

}  // namespace sage
