// Everything public in one header.
#pragma once

#include "resnet/data.h"
#include "resnet/download.h"
#include "resnet/error.h"
#include "resnet/graph.h"
#include "resnet/image.h"
#include "resnet/model_file.h"
#include "resnet/models.h"
#include "resnet/pack.h"
#include "resnet/peaks.h"
#include "resnet/predictor.h"
#include "resnet/pretrained.h"
#include "resnet/program.h"
#include "resnet/tensor.h"
#include "resnet/train.h"
#include "resnet/variables.h"
#include "resnet/weights.h"
