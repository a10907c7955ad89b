# SPDX-License-Identifier: MIT
# One non-recursive Makefile. `make help` lists the targets.

VERSION := 0.1.0
MODE ?= release
CC := gcc
BUILD ?= build/$(MODE)
PYTHON ?= /usr/bin/python3

LIBS := $(shell pkg-config --libs libevent_core libcrypto jansson libcurl yaml-0.1 sqlite3 zlib 2>/dev/null) -lpthread
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith \
	-Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla -Walloca -Wswitch-enum -Wconversion -Wno-sign-conversion \
	-Wframe-larger-than=8192 -Wdate-time
ifneq (,$(findstring clang,$(CC)))
WARN += -Wimplicit-fallthrough
else
WARN += -Wformat-signedness -Wimplicit-fallthrough=5 -Wduplicated-cond -Wduplicated-branches -Wlogical-op \
	-Wnull-dereference -Wjump-misses-init
endif

CPPFLAGS := -I. -D_GNU_SOURCE -DARAGORA_VERSION='"$(VERSION)"'
CFLAGS_ALL := -std=c11 -g -fno-omit-frame-pointer $(WARN) -fno-common -fPIE
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now
ifeq ($(MODE),release)
CFLAGS_ALL += -O2 -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2
else ifeq ($(MODE),asan)
# The build that tests run on: sanitizers, and the points at which a test may kill it.
CFLAGS_ALL += -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -DFAULT_POINTS -Wno-null-dereference -Wno-error=maybe-uninitialized
LDFLAGS_ALL += -fsanitize=address,undefined
else ifeq ($(MODE),debug)
CFLAGS_ALL += -O0 -DFAULT_POINTS
else
$(error MODE is release, debug or asan)
endif
CFLAGS_ALL += $(CFLAGS)
LDFLAGS_ALL += $(LDFLAGS)

SRC := $(sort $(wildcard common/*.c worker/*.c worker/*/*.c master/*.c master/commands/*.c))
ASM := $(sort $(wildcard common/*.S))
OBJ := $(SRC:%.c=$(BUILD)/%.o) $(ASM:%.S=$(BUILD)/%.o)
LIB_OBJ := $(filter-out $(BUILD)/master/main.o,$(OBJ))
UNIT_SRC := $(sort $(wildcard tests/unit/*_test.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(BUILD)/%)

# `make V=1` shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2);)

.PHONY: all
all: build/aragorad ## build the server (release): build/aragorad

build/aragorad: $(if $(filter release,$(MODE)),$(BUILD)/aragorad)
	@test "$(MODE)" = release || $(MAKE) --no-print-directory MODE=release $@
	@test "$(MODE)" != release || { ln -f $(BUILD)/aragorad $@ && ln -sf aragorad build/aragora; }

$(BUILD)/aragorad: $(BUILD)/master/main.o $(BUILD)/libaragora.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/libaragora.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.S
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(CPPFLAGS) -g -c -o $@ $<

$(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libaragora.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(LDFLAGS_ALL) -MMD -MP -MF $@.d -o $@ $< $(BUILD)/libaragora.a $(LIBS) -lcmocka

.PHONY: unit
unit: $(UNIT_BIN) ## build and run the unit tests of MODE
	@set -e; for t in $(UNIT_BIN); do $$t; done

.PHONY: clean
clean: ## remove what was built
	rm -rf build

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

-include $(OBJ:.o=.d) $(UNIT_BIN:%=%.d)
