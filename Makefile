# SPDX-License-Identifier: MIT
# One non-recursive Makefile. `make help` lists the targets.

VERSION := 0.1.0
MODE ?= release
CC := gcc
BUILD ?= build/$(MODE)
PYTHON ?= /usr/bin/python3

LIBS := $(shell pkg-config --libs libevent_core libnghttp2 libssl libcrypto jansson libcurl yaml-0.1 sqlite3 libpq zlib hiredis libbrotlienc libargon2 libcrypt libseccomp 2>/dev/null) -lpthread -lm
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
# What modules may use of the program.
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now -Wl,--dynamic-list=worker/receipts/module/symbols
ifeq ($(MODE),release)
CFLAGS_ALL += -O2 -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2
else ifeq ($(MODE),asan)
# The build that tests run on: sanitizers, and the points at which a test may kill it.
CFLAGS_ALL += -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -DFAULT_POINTS -Wno-null-dereference -Wno-maybe-uninitialized
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

# PDF is a module of its own, which keeps thirty libraries out of the program; without Pango there is none.
PDF := $(if $(shell pkg-config --exists pangocairo && echo yes),$(BUILD)/aragora_pdf.so)
comma := ,

# `make V=1` shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2);)

.PHONY: all
all: build/aragorad ## build the server (release): build/aragorad

build/aragorad: $(if $(filter release,$(MODE)),$(BUILD)/aragorad $(PDF))
	@test "$(MODE)" = release || $(MAKE) --no-print-directory MODE=release $@
	@test "$(MODE)" != release || { ln -f $(BUILD)/aragorad $(PDF) build/ && ln -sf aragorad build/aragora; }

$(BUILD)/aragorad: $(BUILD)/master/main.o $(BUILD)/libaragora.a worker/receipts/module/symbols | $(PDF)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(LIBS)

$(BUILD)/libaragora.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/aragora_pdf.so: worker/receipts/module/pdf.c
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CPPFLAGS) $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I pangocairo)) \
		$(filter-out -fPIE,$(CFLAGS_ALL)) -fPIC -MMD -MP -MF $@.d -shared $(filter-out -pie -Wl$(comma)--dynamic-list=%,$(LDFLAGS_ALL)) \
		-o $@ $< $(shell pkg-config --libs pangocairo)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.S
	@mkdir -p $(@D)
	$(call say,AS,$<)
	$(Q)$(CC) $(CPPFLAGS) -g -c -o $@ $<

$(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libaragora.a | $(PDF)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -Wno-frame-larger-than $(LDFLAGS_ALL) -MMD -MP -MF $@.d -o $@ $< $(BUILD)/libaragora.a $(LIBS) -lcmocka

.PHONY: unit
unit: $(UNIT_BIN) ## build and run the unit tests of MODE
	@set -e; for t in $(UNIT_BIN); do $$t; done

.PHONY: unit-build
unit-build: $(UNIT_BIN)

.PHONY: deps
deps: ## install the Debian packages that are missing for building
	@sh packaging/install-deps.sh build

# Two steps, so that pkg-config is asked again after the packages are there.
.PHONY: demo
demo: ## ask a question and watch the debate: make demo TASK="..."
	@sh packaging/install-deps.sh build
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@packaging/demo.sh build/aragorad

.PHONY: test
test: ## install what is missing, then run everything that is tested; ends with "N passed, N failed"
	@sh packaging/install-deps.sh test
	@bash tests/run.sh

.PHONY: integration
integration: ## only the end-to-end tests (ARGS="-k name" selects)
	@$(MAKE) --no-print-directory -j$$(nproc) MODE=asan build/asan/aragorad
	$(PYTHON) -m pytest -q tests/integration $(ARGS)

# Of the release build but for the points at which tests may kill it, for under sanitizers the filter is a weaker one.
.PHONY: sandbox
sandbox: ## end-to-end tests on a build like the release, under the filter that kills (ARGS="tests/integration/test_x.py" selects)
	@$(MAKE) --no-print-directory -j$$(nproc) MODE=release BUILD=build/sandbox CFLAGS=-DFAULT_POINTS build/sandbox/aragorad
	ARAGORAD=$(CURDIR)/build/sandbox/aragorad ARAGORA_TEST_SECCOMP=kill $(PYTHON) -m pytest -q $(or $(ARGS),-n 2 --dist loadfile tests/integration)

.PHONY: lint
lint: ## static checks, the analyzer too: lengths, headers, clang-tidy, shellcheck, mandoc, engine interface
	@bash tests/lint.sh

.PHONY: format
format: ## format all C sources with clang-format 14
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

.PHONY: format-check
format-check: ## fail if a source is not formatted
	@git ls-files '*.c' '*.h' | xargs clang-format-14 --dry-run -Werror

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZ_SECONDS (default 20)
	@bash tests/fuzz/run.sh $(or $(FUZZ_SECONDS),20)

.PHONY: print-libs
print-libs:
	@echo $(LIBS)

$(BUILD)/tests/bench/%: tests/bench/%.c $(BUILD)/libaragora.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< $(BUILD)/libaragora.a $(LIBS)

.PHONY: bench
bench: build/aragorad $(BUILD)/tests/bench/route_bench ## measure beside nginx and Nchan, one table (ARGS="requests tls" selects)
	@bash tests/bench/run.sh $(ARGS)

EVAL_WRAPS := agent_call consensus_count similarity_alike similarity_other_answer topology_shuffle
$(BUILD)/tests/eval/eval: $(wildcard tests/eval/*.c tests/eval/*.h) $(BUILD)/libaragora.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(EVAL_WRAPS:%=-Wl,--wrap=%) -o $@ $(filter %.c,$^) $(BUILD)/libaragora.a $(LIBS)

.PHONY: eval
eval: $(BUILD)/tests/eval/eval ## simulated agents through the real engine: checks, planted defects, tables (ARGS=quick: no tables; ARGS=tables: nothing else)
	@$< $(ARGS)

.PHONY: growth
growth: build/aragorad ## does memory grow over 10 million requests and a million sockets? (GROWTH_REQUESTS, GROWTH_OPENS)
	@bash tests/bench/run.sh growth

.PHONY: chaos
chaos: ## the long crash suites; MINUTES=N of two nodes, SEED=S repeats a run
	@$(MAKE) --no-print-directory -j$$(nproc) MODE=asan build/asan/aragorad
	$(if $(MINUTES),CHAOS_MINUTES=$(MINUTES)) $(if $(SEED),CHAOS_SEED=$(SEED)) $(PYTHON) -m pytest -q -s tests/chaos $(ARGS)

PREFIX ?= /usr/local
.PHONY: install
install: build/aragorad ## install to DESTDIR/PREFIX
	install -D -m 755 build/aragorad $(DESTDIR)$(PREFIX)/sbin/aragorad
	$(if $(PDF),install -D -m 755 build/aragora_pdf.so $(DESTDIR)$(PREFIX)/lib/aragora/aragora_pdf.so)
	mkdir -p $(DESTDIR)$(PREFIX)/bin && ln -sf ../sbin/aragorad $(DESTDIR)$(PREFIX)/bin/aragora
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/aragora conf/*.yml
	install -D -m 644 man/aragorad.8 $(DESTDIR)$(PREFIX)/share/man/man8/aragorad.8
	install -D -m 644 man/aragora-access.7 $(DESTDIR)$(PREFIX)/share/man/man7/aragora-access.7
	install -D -m 644 man/aragora.yml.5 $(DESTDIR)$(PREFIX)/share/man/man5/aragora.yml.5
	install -D -m 644 packaging/systemd/aragorad.service $(DESTDIR)$(PREFIX)/lib/systemd/system/aragorad.service

.PHONY: clean
clean: ## remove what was built
	rm -rf build

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

-include $(OBJ:.o=.d) $(PDF:%=%.d) $(UNIT_BIN:%=%.d)
