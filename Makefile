# Each target is a script of the same name, which installs what it lacks (Debian) and explains itself.
.DEFAULT_GOAL := help
.PHONY: help demo test fuzz bench lint docs image audit release clean

help:
	@echo 'make demo    a manager, a worker and an app on this machine, explained step by step'
	@echo 'make test    all tests, on real servers that it starts and stops; ends with their count'
	@echo 'make fuzz    looks for bytes that a decoder does not survive, for SECONDS=60 a decoder'
	@echo 'make bench   the measurements'
	@echo 'make lint    formatting, lints, documentation, shell scripts'
	@echo 'make docs    the book, in target/docs'
	@echo 'make image   the container image nebula:VERSION'
	@echo 'make audit   licences, sources and known vulnerabilities of what we take from others'
	@echo 'make release archives for each processor, checksums, bill of materials'
	@echo 'make clean   removes what was built here; what was fetched stays in ~/.cache/nebula-dev'

demo test bench lint docs image audit release:
	@scripts/$@

SECONDS ?= 60
fuzz:
	@scripts/fuzz $(SECONDS) $(TARGETS)

clean:
	cargo clean
