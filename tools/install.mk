# Installing: `make install`, `make uninstall`, and what the rock is made of. DESTDIR goes in front of each path.
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LUADIR ?= $(PREFIX)/share/lua/5.4
LIBDIR ?= $(PREFIX)/lib/lua/5.4
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/vmctl
COMPLETIONS ?= $(PREFIX)/share

.PHONY: install install-module install-agent install-extras uninstall dist pack rock install-rock

install: all agent install-module install-agent install-extras

# The module and the programs in Lua: all that the rock has, too.
install-module:
	@install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/vmctl $(DESTDIR)$(LUADIR)
	@cd lua && find vmctl -name '*.lua' -exec install -D -m 644 {} $(DESTDIR)$(LUADIR)/{} \;
	@install -m 755 $(CORE) $(SLIRP) $(PB) $(DESTDIR)$(LIBDIR)/vmctl
	@install -m 755 bin/vmctl bin/vmctl-cc-helper $(DESTDIR)$(BINDIR)

install-agent:
	@install -d $(DESTDIR)$(BINDIR)
	@[ ! -f $(AGENT) ] || install -m 755 $(AGENT) $(DESTDIR)$(BINDIR)

install-extras:
	@install -d $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(DOCDIR) $(DESTDIR)$(COMPLETIONS)/bash-completion/completions \
	  $(DESTDIR)$(COMPLETIONS)/zsh/site-functions $(DESTDIR)$(COMPLETIONS)/fish/vendor_completions.d
	@install -m 755 tools/build-image.lua $(DESTDIR)$(BINDIR)/vmctl-build-image
	@mkdir -p $(BUILD)/man && eval "$$($(MAKE) -s env)" && $(LUA) tools/man.lua $(BUILD)/man
	@install -m 644 $(BUILD)/man/*.1 $(DESTDIR)$(MANDIR)/man1
	@bin/vmctl completion bash > $(DESTDIR)$(COMPLETIONS)/bash-completion/completions/vmctl
	@bin/vmctl completion zsh > $(DESTDIR)$(COMPLETIONS)/zsh/site-functions/_vmctl
	@bin/vmctl completion fish > $(DESTDIR)$(COMPLETIONS)/fish/vendor_completions.d/vmctl.fish
	@cp -R README.md CHANGELOG.md LICENSE docs examples $(DESTDIR)$(DOCDIR)

uninstall:
	@rm -rf $(DESTDIR)$(LUADIR)/vmctl $(DESTDIR)$(LIBDIR)/vmctl $(DESTDIR)$(DOCDIR)
	@rm -f $(addprefix $(DESTDIR)$(BINDIR)/,vmctl vmctl-cc-helper vmctl-agent vmctl-build-image) \
	  $(addprefix $(DESTDIR)$(MANDIR)/man1/,vmctl.1 vmctl-agent.1) \
	  $(DESTDIR)$(COMPLETIONS)/bash-completion/completions/vmctl $(DESTDIR)$(COMPLETIONS)/zsh/site-functions/_vmctl \
	  $(DESTDIR)$(COMPLETIONS)/fish/vendor_completions.d/vmctl.fish

# The sources as an archive, which the rockspec names: every file that git tracks, in a folder of the version's name.
DIST := build/dist/vmctl-$(VERSION).tar.gz

dist:
	@mkdir -p $(@D) build/dist
	@git ls-files -z | tar --null -T - --transform 's,^,vmctl-$(VERSION)/,' --owner=0 --group=0 --numeric-owner -czf $(DIST)
	@echo $(DIST)

# A rock of the sources: `luarocks install FILE` builds it.
pack: dist
	@$(LUA) tools/rockspec.lua $(CURDIR)/build/dist > build/dist/vmctl-$(VERSION)-1.rockspec
	@cd build/dist && luarocks --lua-version 5.4 pack vmctl-$(VERSION)-1.rockspec >pack.log 2>&1 || { cat pack.log >&2; exit 1; }
	@echo build/dist/vmctl-$(VERSION)-1.src.rock

# luarocks calls these (see the rockspec): the module, and the agent where its static libraries are.
rock:
	@$(MAKE) -s all
	@$(MAKE) -s agent >$(BUILD)/rock-agent.log 2>&1 || echo 'vmctl: no agent in this rock: see $(BUILD)/rock-agent.log' >&2

install-rock: install-module install-agent
