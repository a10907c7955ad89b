/* SPDX-License-Identifier: MIT */
/*
 * Switches stacks: what the ABI lets a callee clobber is left alone, the rest is pushed, the stack pointer exchanged.
 * Called by co.c only. Signal masks are not touched: all coroutines of a process share the loop's.
 *
 *   void co_switch(void **save_sp, void *to_sp);
 *   void *co_switch_prepare(void *top, void (*fn)(void));   top is 16-aligned; fn never returns
 */

#if defined(__x86_64__)

/* Frame, from the stack pointer up: mxcsr and x87 control word, r15, r14, r13, r12, rbx, rbp, return address. */
	.text
	.globl	co_switch
	.hidden	co_switch
	.type	co_switch, @function
	.p2align 4
co_switch:
	.cfi_startproc
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r15, 0
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	fldcw	4(%rsp)
	ldmxcsr	(%rsp)
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbp
	ret
	.cfi_endproc
	.size	co_switch, .-co_switch

	.globl	co_switch_prepare
	.hidden	co_switch_prepare
	.type	co_switch_prepare, @function
	.p2align 4
co_switch_prepare:
	.cfi_startproc
	leaq	-64(%rdi), %rax
	stmxcsr	(%rax)
	fnstcw	4(%rax)
	xorl	%ecx, %ecx
	movq	%rcx, 8(%rax)
	movq	%rcx, 16(%rax)
	movq	%rcx, 24(%rax)
	movq	%rcx, 32(%rax)
	movq	%rsi, 40(%rax)
	movq	%rcx, 48(%rax)
	leaq	co_switch_boot(%rip), %rcx
	movq	%rcx, 56(%rax)
	ret
	.cfi_endproc
	.size	co_switch_prepare, .-co_switch_prepare

/* First thing on a fresh stack: rsp is the aligned top, so the call below leaves it as the ABI wants it. */
	.type	co_switch_boot, @function
	.p2align 4
co_switch_boot:
	.cfi_startproc
	.cfi_undefined rip
	call	*%rbx
	ud2
	.cfi_endproc
	.size	co_switch_boot, .-co_switch_boot

#elif defined(__aarch64__)

/* Frame, from the stack pointer up: fpcr and padding, x19 to x30, d8 to d15: 176 bytes. */
	.text
	.globl	co_switch
	.hidden	co_switch
	.type	co_switch, %function
	.p2align 4
co_switch:
	.cfi_startproc
	sub	sp, sp, #176
	.cfi_adjust_cfa_offset 176
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	stp	x29, x30, [sp, #96]
	stp	d8, d9, [sp, #112]
	stp	d10, d11, [sp, #128]
	stp	d12, d13, [sp, #144]
	stp	d14, d15, [sp, #160]
	.cfi_rel_offset x19, 16
	.cfi_rel_offset x20, 24
	.cfi_rel_offset x21, 32
	.cfi_rel_offset x22, 40
	.cfi_rel_offset x23, 48
	.cfi_rel_offset x24, 56
	.cfi_rel_offset x25, 64
	.cfi_rel_offset x26, 72
	.cfi_rel_offset x27, 80
	.cfi_rel_offset x28, 88
	.cfi_rel_offset x29, 96
	.cfi_rel_offset x30, 104
	mrs	x9, fpcr
	str	x9, [sp]
	mov	x9, sp
	str	x9, [x0]
	mov	sp, x1
	ldr	x9, [sp]
	msr	fpcr, x9
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	x29, x30, [sp, #96]
	ldp	d8, d9, [sp, #112]
	ldp	d10, d11, [sp, #128]
	ldp	d12, d13, [sp, #144]
	ldp	d14, d15, [sp, #160]
	add	sp, sp, #176
	.cfi_def_cfa_offset 0
	.cfi_restore x19
	.cfi_restore x20
	.cfi_restore x21
	.cfi_restore x22
	.cfi_restore x23
	.cfi_restore x24
	.cfi_restore x25
	.cfi_restore x26
	.cfi_restore x27
	.cfi_restore x28
	.cfi_restore x29
	.cfi_restore x30
	ret
	.cfi_endproc
	.size	co_switch, .-co_switch

	.globl	co_switch_prepare
	.hidden	co_switch_prepare
	.type	co_switch_prepare, %function
	.p2align 4
co_switch_prepare:
	.cfi_startproc
	sub	x0, x0, #176
	mrs	x9, fpcr
	stp	x9, xzr, [x0]
	stp	x1, xzr, [x0, #16]
	stp	xzr, xzr, [x0, #32]
	stp	xzr, xzr, [x0, #48]
	stp	xzr, xzr, [x0, #64]
	stp	xzr, xzr, [x0, #80]
	adr	x9, co_switch_boot
	stp	xzr, x9, [x0, #96]
	stp	xzr, xzr, [x0, #112]
	stp	xzr, xzr, [x0, #128]
	stp	xzr, xzr, [x0, #144]
	stp	xzr, xzr, [x0, #160]
	ret
	.cfi_endproc
	.size	co_switch_prepare, .-co_switch_prepare

	.type	co_switch_boot, %function
	.p2align 4
co_switch_boot:
	.cfi_startproc
	.cfi_undefined x30
	blr	x19
	brk	#1
	.cfi_endproc
	.size	co_switch_boot, .-co_switch_boot

#else
#error "co_switch.S knows amd64 and arm64"
#endif

	.section .note.GNU-stack, "", %progbits
