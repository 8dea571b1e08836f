//! The 64 steps of MD5, once for all kinds of registers.

/// A table of one word a step, aligned for the widest loads.
#[repr(C, align(64))]
pub(super) struct Steps(pub(super) [u32; 64]);

/// The state before the first step.
pub(super) const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// What each step adds: the first 32 bits of the fractions of sines.
#[rustfmt::skip]
pub(super) static CONSTANTS: Steps = Steps([
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
]);

/// The message word that each step adds.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) static ORDER: Steps = Steps([
    0, 1, 2, 3, 4, 5, 6, 7,
    8, 9, 10, 11, 12, 13, 14, 15,
    1, 6, 11, 0, 5, 10, 15, 4,
    9, 14, 3, 8, 13, 2, 7, 12,
    5, 8, 11, 14, 1, 4, 7, 10,
    13, 0, 3, 6, 9, 12, 15, 2,
    0, 7, 14, 5, 12, 3, 10, 1,
    8, 15, 6, 13, 4, 11, 2, 9,
]);

/// Runs steps 0 to 60, or all 64, on the registers `a b c d`: `$step!(number, function, a b c d, rotation, word, constant)`, where the step
/// is to make the register that is named first `b + (a + function(b, c, d) + word + constant <<< rotation)`.
///
/// Step 60 is the last that writes `a`. Steps 61 to 63 write `d`, `c` and `b`, which a position does not need.
macro_rules! steps {
    (61, $step:ident, $a:ident $b:ident $c:ident $d:ident) => {
        $step!(0, f, $a $b $c $d, 7, 0, 0xd76a_a478);
        $step!(1, f, $d $a $b $c, 12, 1, 0xe8c7_b756);
        $step!(2, f, $c $d $a $b, 17, 2, 0x2420_70db);
        $step!(3, f, $b $c $d $a, 22, 3, 0xc1bd_ceee);
        $step!(4, f, $a $b $c $d, 7, 4, 0xf57c_0faf);
        $step!(5, f, $d $a $b $c, 12, 5, 0x4787_c62a);
        $step!(6, f, $c $d $a $b, 17, 6, 0xa830_4613);
        $step!(7, f, $b $c $d $a, 22, 7, 0xfd46_9501);
        $step!(8, f, $a $b $c $d, 7, 8, 0x6980_98d8);
        $step!(9, f, $d $a $b $c, 12, 9, 0x8b44_f7af);
        $step!(10, f, $c $d $a $b, 17, 10, 0xffff_5bb1);
        $step!(11, f, $b $c $d $a, 22, 11, 0x895c_d7be);
        $step!(12, f, $a $b $c $d, 7, 12, 0x6b90_1122);
        $step!(13, f, $d $a $b $c, 12, 13, 0xfd98_7193);
        $step!(14, f, $c $d $a $b, 17, 14, 0xa679_438e);
        $step!(15, f, $b $c $d $a, 22, 15, 0x49b4_0821);
        $step!(16, g, $a $b $c $d, 5, 1, 0xf61e_2562);
        $step!(17, g, $d $a $b $c, 9, 6, 0xc040_b340);
        $step!(18, g, $c $d $a $b, 14, 11, 0x265e_5a51);
        $step!(19, g, $b $c $d $a, 20, 0, 0xe9b6_c7aa);
        $step!(20, g, $a $b $c $d, 5, 5, 0xd62f_105d);
        $step!(21, g, $d $a $b $c, 9, 10, 0x0244_1453);
        $step!(22, g, $c $d $a $b, 14, 15, 0xd8a1_e681);
        $step!(23, g, $b $c $d $a, 20, 4, 0xe7d3_fbc8);
        $step!(24, g, $a $b $c $d, 5, 9, 0x21e1_cde6);
        $step!(25, g, $d $a $b $c, 9, 14, 0xc337_07d6);
        $step!(26, g, $c $d $a $b, 14, 3, 0xf4d5_0d87);
        $step!(27, g, $b $c $d $a, 20, 8, 0x455a_14ed);
        $step!(28, g, $a $b $c $d, 5, 13, 0xa9e3_e905);
        $step!(29, g, $d $a $b $c, 9, 2, 0xfcef_a3f8);
        $step!(30, g, $c $d $a $b, 14, 7, 0x676f_02d9);
        $step!(31, g, $b $c $d $a, 20, 12, 0x8d2a_4c8a);
        $step!(32, h, $a $b $c $d, 4, 5, 0xfffa_3942);
        $step!(33, h, $d $a $b $c, 11, 8, 0x8771_f681);
        $step!(34, h, $c $d $a $b, 16, 11, 0x6d9d_6122);
        $step!(35, h, $b $c $d $a, 23, 14, 0xfde5_380c);
        $step!(36, h, $a $b $c $d, 4, 1, 0xa4be_ea44);
        $step!(37, h, $d $a $b $c, 11, 4, 0x4bde_cfa9);
        $step!(38, h, $c $d $a $b, 16, 7, 0xf6bb_4b60);
        $step!(39, h, $b $c $d $a, 23, 10, 0xbebf_bc70);
        $step!(40, h, $a $b $c $d, 4, 13, 0x289b_7ec6);
        $step!(41, h, $d $a $b $c, 11, 0, 0xeaa1_27fa);
        $step!(42, h, $c $d $a $b, 16, 3, 0xd4ef_3085);
        $step!(43, h, $b $c $d $a, 23, 6, 0x0488_1d05);
        $step!(44, h, $a $b $c $d, 4, 9, 0xd9d4_d039);
        $step!(45, h, $d $a $b $c, 11, 12, 0xe6db_99e5);
        $step!(46, h, $c $d $a $b, 16, 15, 0x1fa2_7cf8);
        $step!(47, h, $b $c $d $a, 23, 2, 0xc4ac_5665);
        $step!(48, i, $a $b $c $d, 6, 0, 0xf429_2244);
        $step!(49, i, $d $a $b $c, 10, 7, 0x432a_ff97);
        $step!(50, i, $c $d $a $b, 15, 14, 0xab94_23a7);
        $step!(51, i, $b $c $d $a, 21, 5, 0xfc93_a039);
        $step!(52, i, $a $b $c $d, 6, 12, 0x655b_59c3);
        $step!(53, i, $d $a $b $c, 10, 3, 0x8f0c_cc92);
        $step!(54, i, $c $d $a $b, 15, 10, 0xffef_f47d);
        $step!(55, i, $b $c $d $a, 21, 1, 0x8584_5dd1);
        $step!(56, i, $a $b $c $d, 6, 8, 0x6fa8_7e4f);
        $step!(57, i, $d $a $b $c, 10, 15, 0xfe2c_e6e0);
        $step!(58, i, $c $d $a $b, 15, 6, 0xa301_4314);
        $step!(59, i, $b $c $d $a, 21, 13, 0x4e08_11a1);
        $step!(60, i, $a $b $c $d, 6, 4, 0xf753_7e82);
    };
    (64, $step:ident, $a:ident $b:ident $c:ident $d:ident) => {
        steps!(61, $step, $a $b $c $d);
        $step!(61, i, $d $a $b $c, 10, 11, 0xbd3a_f235);
        $step!(62, i, $c $d $a $b, 15, 2, 0x2ad7_d2bb);
        $step!(63, i, $b $c $d $a, 21, 9, 0xeb86_d391);
    };
}

pub(super) use steps;
