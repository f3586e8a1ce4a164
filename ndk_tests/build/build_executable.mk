# SPDX-License-Identifier: GPL-2.0-only
# BUILD_EXECUTABLE: the rules for one module, from the LOCAL_ variables.
#
# Each module has object files of its own. A source file may lie outside the
# module's folder; its "../" must not lead its object file out of $(OUT).

program := $(OUT)/$(LOCAL_MODULE)
objects := $(addprefix $(OUT)/obj/$(LOCAL_MODULE)/,$(subst ../,__/,$(LOCAL_SRC_FILES:.c=.o)))

all: $(program)

# The variables are copied to the targets now: make expands a recipe only after
# the last Android.mk has been read.
$(program): CFLAGS := $(LOCAL_CFLAGS) $(STRICT_CFLAGS) $(addprefix -I,$(LOCAL_C_INCLUDES))
$(program): LDFLAGS := $(LOCAL_LDFLAGS)

$(program): $(objects)
	$(CC) $(LDFLAGS) -o $@ $^

define compile_rule
$(OUT)/obj/$(LOCAL_MODULE)/$(subst ../,__/,$(1:.c=.o)): $(LOCAL_PATH)/$(1)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) -MMD -MP -c -o $$@ $$<
endef
$(foreach source,$(LOCAL_SRC_FILES),$(eval $(call compile_rule,$(source))))

-include $(objects:.o=.d)
