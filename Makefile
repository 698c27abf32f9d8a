# Targets for people and for CI; `make help` lists them. Every target works on
# all modules of go.work, one after the other, and fails if any of them does.
# Needs: bash, git, Go as named in go.work, and gcc for the race detector.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

GOLANGCI_VERSION := 2.15.0
GOLANGCI         := $(CURDIR)/.cache/tools/golangci-lint-$(GOLANGCI_VERSION)

ALL_TAGS := integration,fault,e2e
# A hang ends the run; no timing decides a test. RUN=pattern narrows a run.
TEST     := go test -race -shuffle=on -timeout=20m $(if $(RUN),-run='$(RUN)')
EACH     := .ci/each-module
CLEAN    := .ci/clean-env

E2E_DISTRIBUTED := CURFEW_E2E_FORM=distributed $(CLEAN) $(TEST) -count=1 -tags=e2e ./services/e2e

.PHONY: help check unit integration inject fault e2e sim fleet test fuzz build up down demo bench gobench lint fmt tidy tools servers clients clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' Makefile

check: $(GOLANGCI) ## format, lint, vet with all tags, unit tests; what to run before a commit
	@$(EACH) $(GOLANGCI) fmt --diff
	@$(MAKE) lint
	@$(EACH) go vet -tags=$(ALL_TAGS) ./...
	@$(MAKE) unit

lint: $(GOLANGCI) ## golangci-lint, which looks at the format too (fix: make fmt)
	@$(EACH) $(GOLANGCI) run --allow-parallel-runners ./...

fmt: $(GOLANGCI) ## gofumpt and goimports, in place
	@$(EACH) $(GOLANGCI) fmt

tidy: ## go mod tidy in each module
	@$(EACH) go mod tidy

unit: ## tests without network or servers, race detector on
	@$(CLEAN) $(EACH) $(TEST) ./...

integration: ## as unit, plus real Postgres, Redis and NATS; without a server a test is skipped
	@$(CLEAN) $(EACH) $(TEST) -count=1 -tags=integration ./...

inject: ## as unit, plus faults injected at every outbound call, in process
	@$(CLEAN) $(EACH) $(TEST) -count=1 -tags=fault ./...

e2e: ## as unit, plus the built programs driven by foreign clients; FORM=distributed: those of many machines
ifeq ($(FORM),distributed)
	@$(E2E_DISTRIBUTED)
else
	@$(CLEAN) $(EACH) $(TEST) -count=1 -tags=e2e ./...
endif

# One simulation a core; each does its part of the seeds.
sim: ## simulate the whole system from SEEDS=1000 seeds (BASE=n: from n on; WITHIN=60: s), or replay SEED=n
ifdef SEED
	@cd services && CURFEW_SIM_SEED=$(SEED) $(CURDIR)/$(CLEAN) go test -count=1 -run='^TestSeeds$$' -v ./sim
else
	@$(CLEAN) .ci/sim $(or $(SEEDS),1000) $(or $(BASE),1) $(or $(WITHIN),0)
endif

fleet: ## faults of every kind on the distributed form; minutes of the whole machine
	@cd services && CURFEW_FLEET=1 $(CURDIR)/$(CLEAN) go test -race -count=1 -timeout=30m -tags=e2e -v ./e2e/fleet

# What is broken is the built programs and real servers. An hour for each form,
# of the whole machine.
FAULT_TABLE := $(CURDIR)/.cache/faults.md
FAULT       := cd services && CURFEW_FAULT=1 CURFEW_FAULT_TABLE=$(FAULT_TABLE) \
	CURFEW_FAULT_ROUNDS=$(ROUNDS) CURFEW_FAULT_SEED=$(SEED) CURFEW_FAULT_POINTS=$(if $(POINTS),'$(POINTS)') \
	$(CURDIR)/$(CLEAN) go test -count=1 -timeout=4h -tags=e2e -v $(if $(RUN),-run='$(RUN)') ./e2e/fault

fault: ## break an installation everywhere and print a table; ROUNDS=300 of random kills, SEED= repeats one, FORM=one|distributed
	@mkdir -p .cache && rm -f $(FAULT_TABLE)
	@code=0; \
	$(if $(filter distributed,$(FORM)),,( $(FAULT) ) || code=1;) \
	$(if $(filter one,$(FORM)),,( export CURFEW_E2E_FORM=distributed; $(FAULT) ) || code=1;) \
	cat $(FAULT_TABLE) || code=1; exit $$code

# The part of them that is in every run goes by a seed that is printed.
FAULT_SEED := $(or $(SEED),$(shell echo $$RANDOM$$RANDOM))

# One pass over each module: a package is built once, and its unit,
# conformance, integration, fault and end-to-end tests run together. Then the
# end-to-end tests once more, against the distributed form. (The faults of that
# one are asked for: make fleet.)
test: servers clients ## all tests with nothing skipped for want of a server; installs Postgres, Redis and the clients where allowed
	@echo "the seed of random faults is $(FAULT_SEED): make test SEED=$(FAULT_SEED) repeats the choices" >&2
	@CURFEW_CI=1 CURFEW_FAULT_SEED=$(FAULT_SEED) $(CLEAN) $(EACH) $(TEST) -count=1 -tags=$(ALL_TAGS) ./...
	@CURFEW_CI=1 $(E2E_DISTRIBUTED)

fuzz: ## fuzz the parsers of what clients send, TIME=60s each
	@$(CLEAN) .ci/fuzz $(or $(TIME),60s)

# ARGS are flags of the program: `bin/bench -help` lists them.
bench: build ## measure issuing and revoking on real servers, some minutes of the whole machine (ARGS="-form=distributed -run=issue")
	@$(CLEAN) bin/bench $(ARGS)

gobench: ## Go benchmarks of the packages (RUN=pattern narrows)
	@$(CLEAN) $(EACH) go test -run='^$$' -bench='$(or $(RUN),.)' -benchmem ./...

servers: ## find Postgres and Redis for the tests, or install them
	@go run ./shared/testkit/servers -install

clients: ## install the clients of other projects that the end-to-end tests drive the server with
	@.ci/install-clients $(CURDIR)/.cache/clients

# Into bin/: every folder of services/ that holds a program. The three roles are
# named after the product.
build: ## build the programs into bin/
	@mkdir -p bin
	@cd services && go build -buildvcs=false -trimpath -o ../bin/ $$(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./...)
	@cd bin && for role in issuer revoker auditor; do mv -f $$role curfew-$$role; done

up: build ## run the distributed form: with containers, or FORM=local as processes on this machine
ifeq ($(FORM),local)
	@$(CLEAN) bin/local up -address=$(or $(ADDRESS),127.0.0.1:8200)
else
	@deploy/compose/secrets.sh
	@docker compose up --build --wait
endif

down: ## stop what `make up` started with containers
	@docker compose down

demo: build ## walk through the life of two leases on real servers (KEEP=1 leaves it running; FORM=distributed)
	@$(CLEAN) bin/demo $(if $(FORM),-form=$(FORM))

tools: $(GOLANGCI) ## build the pinned linter into .cache/tools

$(GOLANGCI):
	@.ci/install-golangci $(GOLANGCI_VERSION) $@

clean: ## remove bin/ and .cache/
	rm -rf bin .cache
