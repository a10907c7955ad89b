/* SPDX-License-Identifier: MIT */
/*
 * The ways in which something is delivered, in one list. A new one is a file with its descriptor and a row here.
 */
#include "worker/delivery/outbox.h"

static const struct delivery_format *const formats[] = {&delivery_format_webhook};

const struct delivery_format *delivery_format_find(struct str name)
{
	size_t i;

	for (i = 0; i < countof(formats); i++)
		if (str_eqz(name, formats[i]->name))
			return formats[i];
	return NULL;
}
